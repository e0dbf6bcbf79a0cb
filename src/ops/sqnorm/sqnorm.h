// Squared norm of a gradient, as partial sums over fixed logical blocks.
//
//   partials[b] = sum of g[i]^2 for 4096 b <= i < min(4096 (b + 1), n)      [ceil(n / 4096)]  f32
//
// g: any shape, f64, f32 or bf16, seen as n elements in row-major order. Inside a block lane l of 16 sums the squares
// of its elements l, l + 16, l + 32, ... in that order in f64 (exact squares of f32 and bf16), the lanes are added as a
// binary tree (l and l + 8, then + 4, + 2, + 1) and the result is rounded to f32 once.
//
// A block's sum depends on its own elements only: a tensor cut at multiples of 4096 gives the bits of the whole, on any
// number of threads or ranks. `clip` adds the partials. The partials are usually a view into one buffer of them all.
//
// Aliasing: partials share no memory with g. Error: |partial - exact| <= (u + 260 v) partial, u the roundoff of f32, v
// that of f64. A block whose sum is beyond the range of f32 is infinite; one below 1e-45 is 0. No gradient.
#pragma once

#include "program/builder.h"

namespace centavo {

inline constexpr int64_t kNormBlock = 4096;

// Blocks, so partials, of a tensor of n elements.
inline constexpr int64_t norm_blocks(int64_t n) { return (n + kNormBlock - 1) / kNormBlock; }

BufferId sqnorm(Builder& b, BufferId g, const Into& partials);

//   partials = sqnorm(g)
OpDef sqnorm_def();

CpuKernel sqnorm_cpu(const OpView& view, const CpuTraits& traits);

}  // namespace centavo
