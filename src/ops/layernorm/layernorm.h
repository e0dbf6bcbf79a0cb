// Layer norm, with the residual addition before it fused in.
//
//   sum  = x + delta                                [N, C]  T      (without delta: x itself, not written)
//   mean = sum over columns of sum / C              [N]     statistic
//   rstd = 1 / sqrt(mean((sum - mean)^2) + eps)     [N]     statistic
//   h    = (sum - mean) * rstd * weight + bias      [N, C]  T
//
// x, delta [N, C] T, weight, bias [C] in the accumulator of T (near 1 a step of bf16 would be a hundred updates). `sum`
// is rounded to T before it is used, so the norm of the written sum is what is computed. Statistics and products are
// carried in the accumulator of T and rounded once; the deviations are squared after the mean is known, so a mean far
// from 0 costs no digits of the variance.
//
// Short replay: h, mean and rstd again from the written `sum`, as the norm of x = sum without a delta. Since the
// statistics are those of the rounded sum, the bits are the same.
//
// Backward, with g = dh * weight and xhat = (sum - mean) * rstd:
//   dx      = dsum + rstd * (g - mean(g) - xhat * mean(g * xhat))   [N, C]  T
//   dweight = sum over rows of dh * xhat                            [C]     gradient
//   dbias   = sum over rows of dh                                   [C]     gradient
//
// dsum is the gradient of `sum` from elsewhere. Where it is asked for, h is written once more, with the forward's bits.
//
// Aliasing: no output may share memory with an input, but h of the backward may lie where dh does, one a view of the
// other. Deterministic: each block of 64 rows belongs to one thread;
// dweight and dbias are the sums over its rows in order, these sums added in order. On CUDA shape and dtype alone say
// how many rows a block has, and the blocks are added as 32 interleaved sums. Error, with u the roundoff of the
// accumulator and s = |sum| + mean(|sum|): |h - exact| <= (C + 8) u (s rstd |weight| + |bias|), plus one rounding to T.
// Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.
#pragma once

#include <optional>
#include <string>

#include "program/builder.h"

namespace centavo {

struct LayerNormed {
  BufferId h = kNone;
  BufferId sum = kNone;  // the residual stream after the addition; x itself without delta
};

// `delta` may be kNone. Names its outputs NAME, NAME.mean, NAME.rstd and NAME.sum.
LayerNormed layernorm(Builder& b, const std::string& name, BufferId x, BufferId delta, BufferId weight, BufferId bias,
                      double eps);

//   h, mean, rstd, sum? = layernorm(x, delta?, weight, bias) eps
OpDef layernorm_def();
//   dx, dweight?, dbias?, h? = layernorm_grad(dh, dsum?, sum, weight, mean, rstd, bias?)
//
// The bias is for h alone.
OpDef layernorm_grad_def();

// `grad` with the output h that `replay` writes; nothing unless these are a layernorm_grad without h and the layernorm
// of its sum.
std::optional<Op> layernorm_grad_with_h(const Op& grad, const Op& replay);

CpuKernel layernorm_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel layernorm_grad_cpu(const OpView& view, const CpuTraits& traits);
// Bytes of the sums of dweight and dbias over blocks of rows.
int64_t layernorm_grad_cpu_workspace(const OpView& view, const CpuTraits& traits);

CudaKernel layernorm_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel layernorm_grad_cuda(const OpView& view, const CudaTraits& traits);
int64_t layernorm_grad_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
