// Token embedding: row `tokens[n]` of the table; with learned positions the row of the token's position is added.
//
//   x[n] = weight[tokens[n]]                                            without positions: exact
//   x[n] = weight[tokens[n]] + position_weight[positions[n]]            rounded once
//
// tokens, positions i32 [N], weight [V, C] T, position_weight [P, C] T, x [N, C] T.
//
// Backward: each row of a table sums the gradients of its tokens; the table of positions has an embedding_grad of its
// own, with positions for tokens and P for V.
//   dweight[v] = sum over n with tokens[n] = v of dx[n]   [V, C]  gradient
// dx [N, C] T. Tokens are gathered by id into segments, each segment is summed in token order in the accumulator of T
// and rounded once, together with what was there when the binding adds. Rows that no token names become 0, or stay
// untouched when the binding adds.
//
// Ids outside [0, V) are refused by the host before upload, positions stay below P. Should another arrive, nothing is
// read or written out of bounds: its row counts as 0 and its row of dx is left out.
//
// Aliasing: no output may share memory with an input. Deterministic: each element belongs to one thread, independent
// of the number of threads. Error of dweight: |dweight - exact| <= (n - 1) u sum |dx| over the segment's n tokens, u
// the roundoff of the accumulator, plus one rounding.
// Source: Bengio et al., "A Neural Probabilistic Language Model", 2003; learned positions: Gehring et al.,
// "Convolutional Sequence to Sequence Learning", 2017; segments as in Karpathy, llm.c, encoder.cuh.
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

struct LearnedPositions {
  BufferId positions = kNone;
  BufferId weight = kNone;
};

// Without `learned` the tokens alone.
BufferId embedding(Builder& b, const std::string& name, BufferId tokens, BufferId weight,
                   const LearnedPositions& learned = {});

//   x = embedding(tokens, weight, positions?, position_weight?)
OpDef embedding_def();
//   dweight = embedding_grad(tokens, dx) vocab_size
OpDef embedding_grad_def();

CpuKernel embedding_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel embedding_cuda(const OpView& view, const CudaTraits& traits);
CpuKernel embedding_grad_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel embedding_grad_cuda(const OpView& view, const CudaTraits& traits);
// Bytes of the sorted tokens: i32 ends [V], i32 order [N].
int64_t embedding_grad_cpu_workspace(const OpView& view, const CpuTraits& traits);
// Bytes of the segments: i32 [V], rounded up to parts of one size, and i32 [N] three times and a little more.
int64_t embedding_grad_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
