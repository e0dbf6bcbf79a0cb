// Gaussian error linear unit in its tanh form (Hugging Face's "gelu_new", GPT-2's activation).
//
//   y = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))                    [N, F]  T
//
// Computed as y = x sigma(z), sigma(z) = 1 / (1 + exp(-z)), z = 2 sqrt(2 / pi) (x + 0.044715 x^3), which is the same.
//
// x [N, F] T. Backward, with dy [N, F] T:
//   dx = dy * sigma(z) * (1 + x * z' * (1 - sigma(z))),   z' = 2 sqrt(2 / pi) (1 + 3 * 0.044715 x^2)
//
// Carried in the accumulator of T and rounded once. sigma and 1 - sigma are both made from exp(-|z|), so neither
// overflows nor cancels.
//
// Aliasing: no output may share memory with an input. Deterministic: each element is computed on its own. Error, with u
// the roundoff of the accumulator: |y - exact| <= 14 u |x|, |dx - exact| <= 30 u |dy|, plus one rounding to T: z
// carries 5 u |z|, and |z| sigma (1 - sigma) < 1/4. Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

BufferId gelu(Builder& b, const std::string& name, BufferId x);

//   y = gelu(x)
OpDef gelu_def();
//   dx = gelu_grad(dy, x)
OpDef gelu_grad_def();

CpuKernel gelu_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel gelu_grad_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel gelu_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel gelu_grad_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
