// Causal grouped-query attention over packed documents, with an optional sliding window and an optional cache.
//
//   qkv [N, (H + 2K) D]  T    columns: H query heads, K key heads, K value heads, each D wide
//   query head h uses key/value head h / (H / K)
//   s[i, j] = <q_i, k_j> / sqrt(D)          token i sees j when both stand in one document, j <= i, and
//                                           window == 0 or i - j < window
//   lse[i]  = log sum_j exp(s[i, j])        [H, N]    statistic
//   y[i]    = sum_j exp(s[i, j] - lse[i]) v_j         [N, H D]  T
//
// cu_seqlens i32 [max_docs + 1]: document d is the tokens [cu_seqlens[d], cu_seqlens[d + 1]); documents may be empty.
// Tokens of no document are padding: y = 0, lse = 0, dqkv = 0. The values are data, so they are made safe, never
// trusted: each boundary is clamped to [boundary before it, N].
//
// max_seqlen: the builder's promise that no document is longer; on CUDA the tokens past it are padding. uniform = 1:
// the promise that there are N / max_seqlen documents, one behind the other, each max_seqlen long; on CUDA cu_seqlens
// is then not read.
//
// Cache: k_cache, v_cache [max_docs, max_len, K D] T and position i32 [max_docs] come together. The new tokens of
// document d stand at positions position[d], position[d] + 1, ...; their keys and values are written to those rows of
// the cache and the queries attend to the cache. Both caches are updated in place: the outputs are the input buffers,
// untouched rows keep their values. position is clamped to [0, max_len]; tokens past max_len are not written and see
// the rows that exist (with a window perhaps none: y = 0, lse = 0). Such an op cannot be differentiated.
//
// Backward, with p = exp(s - lse) and delta_i = <dy_i, y_i>; the gradient of lse is taken to be zero:
//   ds[i, j] = p[i, j] (<dy_i, v_j> - delta_i)
//   dq_i = sum_j ds[i, j] k_j / sqrt(D);  dk_j = sum_i ds[i, j] q_i / sqrt(D);  dv_j = sum_i p[i, j] dy_i
// dk and dv are summed over the H / K heads of a group, token by token, in order.
//
// Memory: tiles of fixed size on the stack; the backward has a workspace of a few numbers for each query and, unless T
// is its own accumulator, of the sums of dq. D <= 256.
//
// Aliasing: only the caches, as said.
//
// Deterministic: a tile of queries (backward: of keys) belongs to one thread and its sums run in a fixed order; tiles
// of keys add to dq in their order. The number of threads changes no bit. On CUDA the backward repeats to the bit only
// where CudaTraits::deterministic asks for it.
//
// Error, with u the roundoff of T's accumulator, n the keys seen and e = (D + 4) u max sum_d |q_d k_d| / sqrt(D) the
// error of a score: |y - exact| <= (2 e + (n + 8) u) max |v| plus one rounding to T; |lse - exact| <= e + (n + 8) u.
// A NaN or infinity may reach every token of its document. On CUDA in bf16 the weights p, and in the backward p and ds,
// are rounded to bf16 before they are multiplied: y is off by one more roundoff of bf16 times max |v|.
//
// Cost: that of documents of max_seqlen tokens each, the most there can be to do; what is masked is not counted.
//
// Source: Dao et al., "FlashAttention", 2022; Rabe and Staats, "Self-attention does not need O(n^2) memory", 2021;
// Ainslie et al., "GQA", 2023.
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

struct AttentionShape {
  int64_t heads = 1;
  int64_t kv_heads = 1;
  int64_t window = 0;      // tokens a token sees, itself included; 0: all before it
  int64_t max_seqlen = 0;  // tokens of the longest document; 0: unknown, N / max_docs for the cost rule
  bool uniform = false;    // all documents are max_seqlen long and leave no padding
};

struct AttentionCache {
  BufferId k = kNone;
  BufferId v = kNone;
  BufferId position = kNone;
};

// Returns y; names its outputs NAME and NAME.lse.
BufferId attention(Builder& b, const std::string& name, BufferId qkv, BufferId cu_seqlens, const AttentionShape& shape,
                   const AttentionCache& cache = {});

//   y, lse, k_cache?, v_cache? = attention(qkv, cu_seqlens, k_cache?, v_cache?, position?) heads kv_heads max_seqlen
//   uniform window
OpDef attention_def();
//   dqkv = attention_grad(dy, qkv, y, lse, cu_seqlens) heads kv_heads max_seqlen uniform window
OpDef attention_grad_def();

CpuKernel attention_cpu(const OpView& view, const CpuTraits& traits);
CpuKernel attention_grad_cpu(const OpView& view, const CpuTraits& traits);
int64_t attention_grad_cpu_workspace(const OpView& view, const CpuTraits& traits);

// cuDNN where it does the case (attention_cudnn.h), else the own kernels (attention_cuda.h).
CudaKernel attention_cuda(const OpView& view, const CudaTraits& traits);
CudaKernel attention_grad_cuda(const OpView& view, const CudaTraits& traits);
int64_t attention_cuda_workspace(const OpView& view, const CudaTraits& traits);
int64_t attention_grad_cuda_workspace(const OpView& view, const CudaTraits& traits);
// Which of them, and why: "cuDNN 9.19 (8 of 16 MiB)", "own kernel: head size 40". As prepared when `traits.libraries`
// is set, else as planned.
std::string attention_cuda_choice(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
