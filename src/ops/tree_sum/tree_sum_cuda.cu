// Levels of subtrees (binary_tree.cuh); one kernel up to 4096 terms, two up to 16 million. Reads the window once.

#include "ops/tree_sum/binary_tree.cuh"
#include "ops/tree_sum/tree_sum.h"

namespace centavo {
namespace {

// Term p count + j of the window.
struct WindowTerms {
  const float* partials;
  TreeWindow window;

  __device__ double operator()(int64_t i) const {
    if (window.parts == 1) return partials[window.begin + i];
    return partials[i / window.count * window.stride + window.begin + i % window.count];
  }
};

template <class Term>
__global__ void __launch_bounds__(kTreeThreads) sum_to_f32(int64_t terms, Term term, float* sum) {
  const double total = subtree_sum(0, terms, term);
  if (threadIdx.x == 0) *sum = __double2float_rn(total);
}

TreeWindow window_of(const OpView& v) {
  return {v.whole("parts"), v.whole("stride"), v.whole("begin"), v.whole("count")};
}

}  // namespace

int64_t tree_sum_cuda_workspace(const OpView& v, const CudaTraits&) {
  const TreeWindow w = window_of(v);
  return tree_workspace(w.parts * w.count);
}

CudaKernel tree_sum_cuda(const OpView& v, const CudaTraits&) {
  const TreeWindow w = window_of(v);
  return [=](const CudaCall& call) {
    const WindowTerms terms{call.in<float>(0), w};
    sum_levels(w.parts * w.count, terms, call.workspace, call.stream, [&](int64_t count, const auto& term) {
      sum_to_f32<<<1, kTreeThreads, 0, call.stream>>>(count, term, call.out<float>(0));
      check_launch("tree_sum");
    });
  };
}

}  // namespace centavo
