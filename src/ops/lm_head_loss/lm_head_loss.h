// The head's projection and cross entropy in one op; all logits at once are never held.
//
//   logits[n] = h[n] weight^T                                                  accumulator of T, never rounded to T
//   loss      = sum over counted n of logsumexp(logits[n]) - logits[n, targets[n]]   [1]  statistic
//   count     = number of counted n                                                  [1]  i32
//
// h [N, C] T, weight [V, C] T, targets i32 [N]. Token n is counted when 0 <= targets[n] < V; a negative target (-1,
// -100) marks a token that is not scored. Targets >= V are refused by the host before upload; should one arrive, it is
// not counted. The work goes over `chunk` tokens at a time (the last chunk may be shorter).
//
// Backward, of the sum: one sweep gives loss and count as above, and from each chunk's logits, turned in place into
//   dlogits[n] = softmax(logits[n]) - onehot(targets[n]), 0 where n is not counted       T
//   dh         = dlogits weight           [N, C]  T
//   dweight    = dlogits^T h              [V, C]  gradient
// dh and dweight are left out when not asked for. Chunks of dweight are summed in the accumulator of T and rounded to
// the dtype of dweight once. Terminal: `differentiate` puts lm_head_loss_grad in the place of lm_head_loss.
//
// Aliasing: no output may share memory with an input. Deterministic for a given number of threads, as the products are
// (ops/linear/product.h); nothing else depends on that number: row losses are summed in f64 in token order. Both ops
// give the same bits for the loss.
// Error, with u the roundoff of the accumulator, S[n] = max over v of sum_c |h[n, c] weight[v, c]|, e[n] = C u S[n]:
//   |loss - exact|       <= sum over n of 2 e[n] + 520 u, plus one rounding
//   sum_v |dlogits[n] - exact| <= 2 e[n] + 1040 u, plus 2 roundoffs of T where T is bf16
// with the products' errors on top (product.h).
// `chunk` changes the order in which dweight is summed: |dweight - exact| grows by (N / chunk) u sum |dlogits| |h|.
//
// Workspace: one chunk of logits [chunk, V] in the accumulator, row losses f64 [N], dweight [V, C] in the accumulator
// when its own dtype is another, and the products' scratch.
//
// On CUDA:
// * Logits are stored in T. For bf16, with r[n] = 2^-8 max over v of |logits[n, v]| the roundings of a row, the bounds
//   grow by 2 r[n] each: |loss - exact| by the sum over n of 2 r[n], sum_v |dlogits[n] - exact| by 2 r[n].
// * Row losses are summed in f64 in a fixed order, that of the tokens taken 1024 apart.
// * Products are deterministic for a given table of algorithms (ops/linear/product_cuda.h), and both ops give the same
//   bits for the loss with the same table.
// * dweight is summed apart, in f32, only where its output cannot hold the sum: bf16 with more than one chunk (or T
//   f32). An f32 dweight, and a bf16 one of a single chunk, are the product's own output. The alternative for bf16,
//   adding each chunk to the output, would need no memory but round once a chunk, and small contributions of late
//   chunks to a large sum would be lost.
// * Workspace: [chunk, V] in T with rows padded to 64 elements, row losses, dweight where it is summed apart, scratch.
//
// Source: Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", 2024, section 2 (chunked form).
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

struct LmHeadLoss {
  BufferId loss = kNone;
  BufferId count = kNone;
};

// `loss` and `count` are usually control buffers that clip and the metrics read.
LmHeadLoss lm_head_loss(Builder& b, BufferId h, BufferId weight, BufferId targets, int64_t chunk, const Into& loss,
                        const Into& count);

//   loss, count = lm_head_loss(h, weight, targets) chunk
OpDef lm_head_loss_def();
//   loss, count, dh?, dweight? = lm_head_loss_grad(h, weight, targets) chunk
OpDef lm_head_loss_grad_def();

// The kernel of both: it differentiates when dh or dweight is there.
CpuKernel lm_head_loss_cpu(const OpView& view, const CpuTraits& traits);
int64_t lm_head_loss_cpu_workspace(const OpView& view, const CpuTraits& traits);

CudaKernel lm_head_loss_cuda(const OpView& view, const CudaTraits& traits);
int64_t lm_head_loss_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
