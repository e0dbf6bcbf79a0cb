// Gated activation of the feed-forward layer.
//
//   gate = gate_up[:, 0..F-1],  up = gate_up[:, F..2F-1]
//   sigma(x) = 1 / (1 + exp(-x)),  silu(x) = x sigma(x)
//   s = silu(gate) * up                                                     [N, F]  T
//
// gate_up [N, 2F] T. Backward, with ds [N, F] T:
//   dgate = ds * up * sigma(gate) * (1 + gate * (1 - sigma(gate)))
//   dup   = ds * silu(gate)                          dgate_up = (dgate, dup)  [N, 2F]  T
// and, where asked for, s once more, with the forward's bits: nearly all of it is at hand there.
//
// Carried in the accumulator of T and rounded once. sigma and 1 - sigma are both made from exp(-|gate|), so neither
// overflows nor cancels.
//
// Aliasing: no output may share memory with an input, but s of the backward may lie where ds does, one a view of the
// other. Deterministic: each element is computed on its own. Error, with u the roundoff of the accumulator:
// |s - exact| <= 12 u |s|, dup alike, |dgate - exact| <= 18 u |ds * up|, plus one rounding to T. On CUDA with bf16
// operands exponential and reciprocal are the GPU's fast ones: with u that of f32, |s - exact| <= (|gate| + 14) u |s|,
// dup alike, |dgate - exact| <= 40 u |ds * up|, and a sigma(gate) below 2^-126 counts as 0. Source: Shazeer, "GLU
// Variants Improve Transformer", 2020.
#pragma once

#include <optional>
#include <string>

#include "program/builder.h"

namespace centavo {

BufferId swiglu(Builder& b, const std::string& name, BufferId gate_up);

//   s = swiglu(gate_up)
OpDef swiglu_def();
//   dgate_up[, s] = swiglu_grad(ds, gate_up)
OpDef swiglu_grad_def();

// `grad` with the output that `replay` writes; nothing unless these are a swiglu_grad without s and a swiglu of the
// same gate_up.
std::optional<Op> swiglu_grad_with_s(const Op& grad, const Op& replay);

// The kernels of swiglu_grad read sizes and dtype off gate_up: ds need not have a buffer (ops/linear_swiglu/).
CpuKernel swiglu_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel swiglu_grad_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel swiglu_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel swiglu_grad_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
