// centavo's own CUDA kernels of attention: linear in memory, always deterministic, without any library. They ask
// nothing of max_seqlen and uniform: cu_seqlens is what counts. The backward computes scores and dp twice, seven
// products instead of five, so that no two blocks add to one sum.
//
// bf16 with D a multiple of 8 and operands at multiples of 16 bytes: tensor cores. Everything else, f32 among it: plain
// f32 arithmetic on tiles in shared memory.
#pragma once

#include "program/op_table.h"

namespace centavo {

CudaKernel attention_own_cuda(const OpView& view, const CudaTraits& traits);
int64_t attention_own_cuda_workspace(const OpView& view, const CudaTraits& traits);

CudaKernel attention_grad_own_cuda(const OpView& view, const CudaTraits& traits);
int64_t attention_grad_own_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
