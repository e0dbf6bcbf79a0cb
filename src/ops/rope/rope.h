// Rotary position embedding of queries and keys, half-split ("rotate-half", the layout of Hugging Face's Llama).
//
//   table[n, i]       = cos(positions[n] * theta^(-2i/D))    i < D/2      [N, D]  statistic
//   table[n, i + D/2] = sin(positions[n] * theta^(-2i/D))
//
//   qkv [N, (H + 2K) * D]  T: H query heads, K key heads, K value heads, D elements each
//   for each query and key head x, with (a, b) = (x[i], x[i + D/2]) and (cos, sin) of i from the token's row:
//     y[i] = a cos - b sin,   y[i + D/2] = b cos + a sin
//   value heads are copied.
//
// positions [N] i32. D = head_dim is even. The table depends on positions only and is made once for all layers.
//
// Backward (rope_grad): the rotation by the opposite angle; the gradient of the value heads is copied.
//
// Aliasing: no output may share memory with an input. Deterministic: each element is computed on its own.
// Error: the table is computed in double and rounded once; the angle carries 2 |positions[n]| 2^-53, on CUDA 6
// |positions[n]| 2^-53 from a power within 2 places, which is below half a place of an f32. |y - exact| <= 3 u
// (|a| + |b|) with u the roundoff of the accumulator (table included), plus one rounding to T. Source: Su et al.,
// "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

BufferId rope_table(Builder& b, const std::string& name, BufferId positions, int64_t head_dim, double theta);
BufferId rope(Builder& b, const std::string& name, BufferId qkv, BufferId table, int64_t heads, int64_t kv_heads);

//   table = rope_table(positions) head_dim theta
OpDef rope_table_def();
//   y = rope(qkv, table) heads kv_heads
OpDef rope_def();
//   dqkv = rope_grad(dy, table) heads kv_heads
OpDef rope_grad_def();

CpuKernel rope_table_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel rope_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel rope_grad_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel rope_table_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel rope_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel rope_grad_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
