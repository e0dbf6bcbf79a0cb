// Squared norm of a gradient, as partial sums over fixed logical blocks.
//
//   partials[b] = sum of g[i]^2 for block b <= i < min(block (b + 1), n)      [ceil(n / block)]  f32
//
// g: any shape, f64, f32 or bf16, seen as n elements in row-major order. Inside a block lane l of 16 sums the squares
// of its elements l, l + 16, l + 32, ... in that order in f64 (exact squares of f32 and bf16), the lanes are added as a
// binary tree (l and l + 8, then + 4, + 2, + 1) and the result is rounded to f32 once.
//
// A block's sum depends on its own elements only: a tensor cut at multiples of `block` gives the bits of the whole, on
// any number of threads or ranks, and zeros behind it change none. `block` is a multiple of 16 of at most 4096.
// `tree_sum` adds the partials, which are usually a view into one buffer of them all.
//
// Aliasing: partials share no memory with g. Error: |partial - exact| <= (u + 260 v) partial, u the roundoff of f32, v
// that of f64. A block whose sum is beyond the range of f32 is infinite; one below 1e-45 is 0. No gradient.
#pragma once

#include <algorithm>
#include <bit>

#include "program/builder.h"

namespace centavo {

inline constexpr int64_t kNormBlock = 4096;
inline constexpr int64_t kSmallestNormBlock = 64;

// Blocks, so partials, of a tensor of n elements.
inline constexpr int64_t norm_blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

// The block for a tensor of n elements: at least 256 blocks where the limits allow, so that small tensors can be cut.
inline constexpr int64_t norm_block_of(int64_t n) {
  const auto share = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(n / 256)));
  return std::clamp(share, kSmallestNormBlock, kNormBlock);
}

BufferId sqnorm(Builder& b, BufferId g, const Into& partials, int64_t block = kNormBlock);

//   partials = sqnorm(g) block
OpDef sqnorm_def();

CpuKernel sqnorm_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel sqnorm_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
