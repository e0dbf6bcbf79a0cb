// The ways of linear_dx_swiglu_grad on a GPU. ops/linear_swiglu/linear_dx_swiglu_grad.h says when each runs.
#pragma once

#include "ops/linear_swiglu/fused_choice.h"

namespace centavo {

// A product of cuBLASLt, then the kernel of swiglu_grad.
CudaKernel linear_dx_swiglu_grad_apart_cuda(const OpView& view, const CudaTraits& traits);

// One kernel, which needs no workspace, with each crew (ops/cuda/product_tiles.cuh); none where it does not take the
// case, or this GPU has no code of it. All give the same bits.
std::vector<CudaWay> linear_dx_swiglu_grad_fused_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
