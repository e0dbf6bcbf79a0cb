// Token embedding: row `tokens[n]` of the table.
//
//   x[n] = weight[tokens[n]]
//
// tokens i32 [N], weight [V, C] T, x [N, C] T. No arithmetic: x is exact.
//
// Backward: each row of the table sums the gradients of its tokens.
//   dweight[v] = sum over n with tokens[n] = v of dx[n]   [V, C]  gradient
// dx [N, C] T. Tokens are sorted by id into segments (a stable counting sort), each segment is summed in token order
// in the accumulator of T and rounded once, together with what was there when the binding adds. Rows that no token
// names become 0, or stay untouched when the binding adds.
//
// Ids outside [0, V) are refused by the host before upload. Should one arrive, nothing is read or written out of
// bounds: its row of x is 0 and its row of dx is left out.
//
// Aliasing: no output may share memory with an input. Deterministic: each element belongs to one thread, independent
// of the number of threads. Error of dweight: |dweight - exact| <= (n - 1) u sum |dx| over the segment's n tokens, u
// the roundoff of the accumulator, plus one rounding.
// Source: Bengio et al., "A Neural Probabilistic Language Model", 2003; segments as in Karpathy, llm.c, encoder.cuh.
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

BufferId embedding(Builder& b, const std::string& name, BufferId tokens, BufferId weight);

//   x = embedding(tokens, weight)
OpDef embedding_def();
//   dweight = embedding_grad(tokens, dx) vocab_size
OpDef embedding_grad_def();

CpuKernel embedding_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel embedding_cuda(const OpView& view, const CudaTraits& traits);
CpuKernel embedding_grad_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel embedding_grad_cuda(const OpView& view, const CudaTraits& traits);
// Bytes of the sorted tokens: i32 ends [V], i32 order [N].
int64_t embedding_grad_cpu_workspace(const OpView& view, const CpuTraits& traits);
// Bytes of the segments, of the tokens and their positions twice, and of the sort.
int64_t embedding_grad_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
