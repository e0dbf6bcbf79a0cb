// A replay that its layer's own backward does along the way.
//
// swiglu_grad reads gate_up and makes silu(gate) of it, which is all that the replayed swiglu needs as well. Where both
// stand in one backward, swiglu_grad writes s beside the gradient, and gate_up is read once:
//
//   ds = linear_dx(dy, down)                    ds = linear_dx(dy, down)
//   s = swiglu(gate_up)  of=%8             =>   dgate_up, s = swiglu_grad(ds, gate_up)
//   dw = linear_dw(dy, s)                       dw = linear_dw(dy, s)
//   dgate_up = swiglu_grad(ds, gate_up)
//
// Saved, with N tokens, F columns and elements of b bytes: 2 N F b of the 8 N F b that the two read and write, and a
// launch.
//
// * The replay goes, and what read s in between moves behind the swiglu_grad, in its order. That gives the same bits:
//   ops change places only where they share no bytes that one of them writes, and the fused s is the replay's.
// * Memory: the swiglu_grad would hold s beside ds, gate_up and dgate_up, and with it the layer N F b more than before.
//   So ds becomes a view of s: swiglu_grad writes each element of s where it read that of ds, which ends there.
// * Fused are a replay and the first swiglu_grad behind it that reads its gate_up, both of one layer, if the readers of
//   s in between are backward ops of that layer in the lane `compute`, and s and ds are never needed both. All or
//   nothing: where a reader must stay (its result is needed before the swiglu_grad, as a quantized s is), the replay
//   stays.
//
// Section `micro` only; runs right after `recompute`, while micro has no edges between lanes. A program without replays
// stays as it is.
#pragma once

#include "program/program.h"

namespace centavo {

Program fuse_replays(Program program);

}  // namespace centavo
