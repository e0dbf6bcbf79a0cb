// The complete binary tree of ops/tree_sum/binary_tree.h on a GPU, with the same bits.
//
// A block of threads sums a complete subtree of kTreeTerms terms: each thread 16 neighbouring terms, the warp its
// threads, the block its warps. The sums of these subtrees are the terms of the next level, until one is left; levels
// but the last lie in the workspace.
#pragma once

#include "ops/cuda/device.cuh"

namespace centavo {

inline constexpr int kTreeThreads = 256;
inline constexpr int kTreeTermsPerThread = 16;
inline constexpr int64_t kTreeTerms = kTreeThreads * kTreeTermsPerThread;

// Bytes of all levels but the last, for a tree over this many terms.
inline int64_t tree_workspace(int64_t terms) {
  int64_t sums = 0;
  for (int64_t level = ceil_div(terms, kTreeTerms); level > 1; level = ceil_div(level, kTreeTerms)) sums += level;
  return sums * static_cast<int64_t>(sizeof(double));
}

// The tree over N neighbouring terms; `term(i)` for i in [0, terms), zeros behind.
template <int N, class Term>
__device__ inline double tree_of_thread(int64_t first, int64_t terms, const Term& term) {
  if constexpr (N == 1) {
    return first < terms ? term(first) : 0.0;
  } else {
    const double left = tree_of_thread<N / 2>(first, terms, term);
    return left + tree_of_thread<N / 2>(first + N / 2, terms, term);
  }
}

// The sum of subtree `tree`, in a block of kTreeThreads, in every thread.
template <class Term>
__device__ inline double subtree_sum(int64_t tree, int64_t terms, const Term& term) {
  const int64_t first = tree * kTreeTerms + static_cast<int64_t>(threadIdx.x) * kTreeTermsPerThread;
  double sum = tree_of_thread<kTreeTermsPerThread>(first, terms, term);
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
  __shared__ double warps[kTreeThreads / 32];
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  return tree_of_thread<kTreeThreads / 32>(0, kTreeThreads / 32, [&](int64_t warp) { return warps[warp]; });
}

// Terms that lie side by side.
template <class T>
struct RowOfTerms {
  const T* at;
  __device__ double operator()(int64_t i) const { return at[i]; }
};

template <class Term>
__global__ void __launch_bounds__(kTreeThreads) sum_subtrees(int64_t terms, Term term, double* sums) {
  const double sum = subtree_sum(blockIdx.x, terms, term);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Enqueues all levels but the last. `last(terms, term)` enqueues that one: at most kTreeTerms terms, one block.
template <class Term, class Last>
void sum_levels(int64_t terms, const Term& term, void* workspace, CUstream_st* stream, const Last& last) {
  if (terms <= kTreeTerms) return last(terms, term);
  const int64_t subtrees = ceil_div(terms, kTreeTerms);
  auto* sums = static_cast<double*>(workspace);
  sum_subtrees<<<static_cast<unsigned>(subtrees), kTreeThreads, 0, stream>>>(terms, term, sums);
  check_launch("sums of subtrees");
  sum_levels(subtrees, RowOfTerms<double>{sums}, sums + subtrees, stream, last);
}

}  // namespace centavo
