// The linear layer and its three gradients: four matrix products.
//
//   linear     y  [N, M] = scale * x weight^T + bias     x [N, K], weight [M, K], bias [M]
//   linear_dx  dx [N, K] = scale * dy weight             dy [N, M]
//   linear_dw  dweight [M, K] = scale * dy^T x
//   linear_db  dbias [M] = sum over rows of dy
//
// Every output may add to what is there (a LoRA product adds to the frozen one's y; micro-batches add gradients).
//
// Operands of products are T, or 8-bit: then the stored value is value * kMax / amax, with kMax the format's largest
// number, and the operand's amax (f32 [1]) is an input; the product is multiplied by amax / kMax of each. An operand
// that is not 8-bit has no amax.
//
// y, dx, bias are T; dweight and dbias are f64, f32 or bf16. Sums are carried in the accumulator of T and rounded once
// to the output, scale and what was there before included; only an adding `linear` with a bias rounds to y twice.
//
// Aliasing: no output may share memory with an input. Deterministic for a given number of threads (linear_db: for any;
// a column's rows are added in order). Error: |y - exact| <= (k + 5) u (|scale| |x| |weight|^T + |bias| + |y before|)
// with k the length of the sums (K, M, N; linear_db N) and u the roundoff of the accumulator, plus the rounding to the
// output. On CUDA the order of sums is that of the algorithm chosen (ops/linear/product_cuda.h), the same as long as
// the tuning table is, and k + 5 becomes k + 9; linear_db adds its rows in fixed blocks. 8-bit operands do not run
// there. Source: Higham, "Accuracy and Stability of Numerical Algorithms", section 3.5; scaling of 8-bit operands:
// Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
#pragma once

#include "program/builder.h"

namespace centavo {

// `bias` may be kNone. Operands are T; 8-bit ones come from the precision pass.
BufferId linear(Builder& b, const Into& y, BufferId x, BufferId weight, BufferId bias = kNone, double scale = 1.0);

//   y = linear(x, weight, bias?, x_amax?, weight_amax?) scale
OpDef linear_def();
//   dx = linear_dx(dy, weight, dy_amax?, weight_amax?) scale
OpDef linear_dx_def();
//   dweight = linear_dw(dy, x, dy_amax?, x_amax?) scale
OpDef linear_dw_def();
//   dbias = linear_db(dy)
OpDef linear_db_def();

int64_t linear_cpu_workspace_bytes(const OpView& view, const CpuTraits& traits);
int64_t linear_dx_cpu_workspace_bytes(const OpView& view, const CpuTraits& traits);
int64_t linear_dw_cpu_workspace_bytes(const OpView& view, const CpuTraits& traits);

CpuKernel linear_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel linear_dx_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel linear_dw_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel linear_db_cpu(const OpView& view, const CpuTraits& traits);

int64_t linear_cuda_workspace(const OpView& view, const CudaTraits& traits);
int64_t linear_dx_cuda_workspace(const OpView& view, const CudaTraits& traits);
int64_t linear_dw_cuda_workspace(const OpView& view, const CudaTraits& traits);

CudaKernel linear_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel linear_dx_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel linear_dw_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel linear_db_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
