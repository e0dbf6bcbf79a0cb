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
//   is the whole op, one of s alone the swiglu that the op has as its short form, which `fuse_replays` takes as ever.
#pragma once

#include "program/program.h"

namespace centavo {

// All sections; they must have no edges yet.
Program fuse_swiglu(Program program);

// The same for the backward (ops/linear_swiglu/linear_dx_swiglu_grad.h):
//
//   ds = linear_dx(dy, weight) scale=1.0
//   dw = linear_dw(dy, s) scale=1.0           =>   dw = linear_dw(dy, s) scale=1.0
//   dgate_up = swiglu_grad(ds, gate_up)            dgate_up = linear_dx_swiglu_grad(dy, weight, gate_up)
//
// Saved on a GPU, where one kernel does both: 2 N F b written and read. Memory: never more than before, as long as dy
// is needed behind the swiglu_grad (a residual stream is): ds, beside gate_up and dgate_up, is at most the op's
// workspace.
//
// * Every linear_dx whose result only a swiglu_grad reads, if it may move down to there: nothing in between writes what
//   it reads, or touches the memory of ds. Not where something is added to ds (a LoRA product).
// * With s, what was s in the place of ds (fuse_replays) becomes an output of its own.
// * ds leaves the table of buffers.
// * On a CPU the same bits as without.
// * Runs behind `fuse_replays`, which looks for the swiglu_grad alone.
Program fuse_swiglu_grad(Program program);

}  // namespace centavo
