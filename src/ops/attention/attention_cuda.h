// Attention on CUDA without a library: every shape and dtype of the contract in attention.h.
#pragma once

#include "program/op_table.h"

namespace centavo {

CudaKernel attention_own_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel attention_grad_own_cuda(const OpView& view, const CudaTraits& traits);
int64_t attention_own_cuda_workspace(const OpView& view, const CudaTraits& traits);
int64_t attention_grad_own_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
