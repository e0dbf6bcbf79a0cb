// Attention through cuDNN, the fast path of bf16 on tensor cores.
//
// Two forms. Uniform: the op's attribute promises one document after the other, all of max_seqlen tokens; cuDNN sees a
// batch of equal sequences. Packed: cuDNN gets the first documents with their offsets and lengths, as many as are
// cheap (empty ones cost launches: four times what would fill N tokens); the kernels of attention_cuda.h first do the
// documents behind those, mostly none, and write the zeros of the padding.
//
// Queries, keys and values are read, and their gradients written, where they stand in qkv and dqkv. lse is natural, as
// here; it is copied where cuDNN wants another order of heads and tokens.
//
// Deterministic: the forward; the backward only with CudaTraits::deterministic. cuDNN then keeps dP in memory
// (2 T^2 bytes a head), so heads or sequences are done in turns of at most 1 GiB.
//
// Workspaces are planned without a GPU and without the library, by formulas of what cuDNN asks for; a plan that asks
// for more is not used.
//
// Error: p and ds are rounded to bf16 before the products they enter, so every element of y is off by a further
// roundoff of bf16 times max |v|, every element of dqkv by a few roundoffs of the sum of its terms' magnitudes.
#pragma once

#include <optional>
#include <string>

#include "program/op_table.h"

namespace centavo {

// Nothing where cuDNN does not do the case; cudnn_attention_refusal then has the reason.
std::optional<CudaKernel> attention_cudnn(const OpView& view, const CudaTraits& traits);
std::optional<CudaKernel> attention_grad_cudnn(const OpView& view, const CudaTraits& traits);

// With the workspace of the documents that are left to the own kernels; 0 where cuDNN is not planned.
int64_t attention_cudnn_workspace(const OpView& view, const CudaTraits& traits);
int64_t attention_grad_cudnn_workspace(const OpView& view, const CudaTraits& traits);

// Why cuDNN does not do this call of attention or attention_grad, empty when it does: what is known of the case, which
// library there is and, with `traits.libraries`, what it says to the case.
std::string cudnn_attention_refusal(const OpView& view, const CudaTraits& traits);

// "cuDNN 9.19", and what it asked for of the planned workspace where that is known.
std::string cudnn_attention_name(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
