// The two ways of linear_swiglu on a GPU. ops/linear_swiglu/linear_swiglu.h says when either runs.
#pragma once

#include <optional>

#include "program/op_table.h"

namespace centavo {

// A product of cuBLASLt, then the kernel of swiglu.
CudaKernel linear_swiglu_apart_cuda(const OpView& view, const CudaTraits& traits);

// One kernel, which needs no workspace; nothing where it does not take the case, or this GPU has no code of it.
std::optional<CudaKernel> linear_swiglu_fused_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
