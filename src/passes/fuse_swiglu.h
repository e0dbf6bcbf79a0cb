// A linear layer and the swiglu right behind it become one op (ops/linear_swiglu/):
//
//   gate_up = linear(h, weight) scale=1.0
//   s = swiglu(gate_up)                       =>   gate_up, s = linear_swiglu(h, weight)
//
// Saved on a GPU, with N tokens, F columns and elements of b bytes, where one kernel does both: 2 N F b read again, of
// the N K + 2 F K + 5 N F elements that the two move, and a launch. The price: h, gate_up and s are alive at once.
//
// * Every pair that stands together; not where anything comes between (a LoRA product that adds to gate_up), nor with a
//   bias. Others may read gate_up later: it is written as before.
// * On a CPU the same bits as without.
// * Runs right behind `precision`, in front of `recompute`, so that what is replayed is what ran: a replay of gate_up
// is
//   the whole op, one of s alone the swiglu that the op has as its short form, which `fuse_replays` takes as ever.
#pragma once

#include "program/program.h"

namespace centavo {

// All sections; they must have no edges yet.
Program fuse_swiglu(Program program);

}  // namespace centavo
