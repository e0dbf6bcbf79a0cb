// A replay that its layer's own backward does along the way (ops/by_products.h).
//
// swiglu_grad reads gate_up and makes silu(gate) of it, which is all that the replayed swiglu needs as well. Where both
// stand in one backward, swiglu_grad writes s beside the gradient, and gate_up is read once:
//
//   ds = linear_dx(dy, down)                    ds = linear_dx(dy, down)
//   s = swiglu(gate_up)  of=%8             =>   dgate_up, s = swiglu_grad(ds, gate_up)
//   dw = linear_dw(dy, s)                       dw = linear_dw(dy, s)
//   dgate_up = swiglu_grad(ds, gate_up)
//
// The gradient of a norm reads the sum and the statistics that a replayed norm would read and make:
//
//   h, rstd = rmsnorm(sum)  of=%6          =>   dx, dweight, h = rmsnorm_grad(dh, dsum, sum, weight, rstd)
//   dw = linear_dw(dgate_up, h)                 dw = linear_dw(dgate_up, h)
//   dx, dweight = rmsnorm_grad(dh, dsum, sum, weight, rstd)
//
// Saved, with N tokens, F or C columns and elements of b bytes: 2 N F b of the 8 N F b that the two of swiglu read and
// write, N C b of the 6 N C b of a norm's, and a launch.
//
// * The replay goes, and what read its result in between moves behind the gradient, in its order. That gives the same
//   bits: ops change places only where they share no bytes that one of them writes, and the by-product is the replay's.
// * What else the replay would write, a norm's statistics, is what the forward left there, and lives on from there: few
//   bytes a row.
// * Memory: swiglu_grad would hold s beside ds, gate_up and dgate_up, and with it the layer N F b more than before. So
//   ds becomes a view of s: the gradient writes each element of s where it read that of ds, which ends there; and h
//   likewise. A norm's gradient now stands while dgate_up, or dqkv, is still there; but h and dh are one, so with dx
//   beside them that is what dw held before with both.
// * Fused are a replay and the first gradient behind it that can give its result, both of one layer, if the readers of
//   the result in between are backward ops of that layer in the lane `compute`, and s and ds are never needed both. All
//   or nothing: where a reader must stay (its result is needed before the gradient, as a quantized s is, or the product
//   of h that is replayed itself), the replay stays.
//
// Section `micro` only; runs right after `recompute`, while micro has no edges between lanes. A program without replays
// stays as it is.
#pragma once

#include <optional>
#include <span>

#include "program/program.h"

namespace centavo {

Program fuse_replays(Program program);

// The first backward op of `replay`'s layer that gives its result as well, and how it then reads.
struct ByProduct {
  size_t at = 0;
  Op fused;
};
std::optional<ByProduct> find_by_product(std::span<const Op> ops, const Op& replay);

}  // namespace centavo
