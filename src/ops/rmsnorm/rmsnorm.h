// Root-mean-square norm, with the residual addition before it fused in.
//
//   sum  = x + delta                     [N, C]  T      (without delta: x itself, not written)
//   rstd = 1 / sqrt(mean(sum^2) + eps)   [N]     statistic
//   h    = sum * rstd * weight           [N, C]  T
//
// x, delta [N, C] T, weight [C] in the accumulator of T (near 1 a step of bf16 would be a hundred updates). `sum` is
// rounded to T before it is used, so the norm of the written sum is what is computed. Statistics and products are
// carried in the accumulator of T and rounded once.
//
// Short replay: h and rstd again from the written `sum`, as the norm of x = sum without a delta. Since the statistic is
// that of the rounded sum, the bits are the same.
//
// Backward, with g = dh * weight and xhat = sum * rstd:
//   dx      = dsum + rstd * (g - xhat * mean(g * xhat))   [N, C]  T   (dsum: gradient of `sum` from elsewhere)
//   dweight = sum over rows of dh * xhat                  [C]     gradient
// and, where asked for, h once more, with the forward's bits.
//
// Aliasing: no output may share memory with an input, but h of the backward may lie where dh does, one a view of the
// other. Deterministic: each block of 64 rows belongs to one thread;
// dweight is the sum over its rows in order, these sums added in order. On CUDA a block has 8 to 64 rows, by their
// number alone, and the blocks are added as 32 interleaved sums. Error: |h - exact| <= (C/2 + 4) u |h| with u the
// roundoff of the accumulator, plus one rounding to T. Source: Zhang and Sennrich, "Root Mean Square Layer
// Normalization", 2019.
#pragma once

#include <optional>
#include <string>

#include "program/builder.h"

namespace centavo {

struct RmsNormed {
  BufferId h = kNone;
  BufferId sum = kNone;  // the residual stream after the addition; x itself without delta
};

// `delta` may be kNone. Names its outputs NAME, NAME.rstd and NAME.sum.
RmsNormed rmsnorm(Builder& b, const std::string& name, BufferId x, BufferId delta, BufferId weight, double eps);

//   h, rstd, sum? = rmsnorm(x, delta?, weight) eps
OpDef rmsnorm_def();
//   dx, dweight?, h? = rmsnorm_grad(dh, dsum?, sum, weight, rstd)
OpDef rmsnorm_grad_def();

// `grad` with the output h that `replay` writes; nothing unless these are an rmsnorm_grad without h and the rmsnorm of
// its sum.
std::optional<Op> rmsnorm_grad_with_h(const Op& grad, const Op& replay);

CpuKernel rmsnorm_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel rmsnorm_grad_cpu(const OpView& view, const CpuTraits& traits);
// Bytes of dweight's sums over blocks of rows.
int64_t rmsnorm_grad_cpu_workspace(const OpView& view, const CpuTraits& traits);

CudaKernel rmsnorm_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel rmsnorm_grad_cuda(const OpView& view, const CudaTraits& traits);
int64_t rmsnorm_grad_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
