// The partials are summed in levels of subtrees (ops/tree_sum/binary_tree.cuh); the last block's first thread computes
// the scalars. Reads the partials once.

#include "ops/clip/clip.h"
#include "ops/tree_sum/binary_tree.cuh"

namespace centavo {
namespace {

constexpr double kNormEps = 1e-6;

struct Scalars {
  const float* loss_f32;
  const double* loss_f64;  // one of the two is null
  const int32_t* count;
  float* scale;
  int32_t* finite;
  float* metrics;
  double max_norm;
};

__device__ void finish(double squares, const Scalars& s) {
  const double loss = s.loss_f64 != nullptr ? *s.loss_f64 : static_cast<double>(*s.loss_f32);
  const double tokens = *s.count;
  const double norm = sqrt(squares) / tokens;
  const bool finite = isfinite(norm) && isfinite(loss) && *s.count > 0;
  const double clip = s.max_norm > 0 ? fmin(1.0, s.max_norm / (norm + kNormEps)) : 1.0;
  *s.scale = finite ? static_cast<float>(clip / tokens) : 0.0f;
  *s.finite = finite ? 1 : 0;
  s.metrics[0] = static_cast<float>(loss / tokens);
  s.metrics[1] = static_cast<float>(norm);
  s.metrics[2] = static_cast<float>(tokens);
  s.metrics[3] = finite ? 1.0f : 0.0f;
}

template <class Term>
__global__ void __launch_bounds__(kTreeThreads) sum_and_finish(int64_t terms, Term term, Scalars scalars) {
  const double squares = subtree_sum(0, terms, term);
  if (threadIdx.x == 0) finish(squares, scalars);
}

}  // namespace

int64_t clip_cuda_workspace(const OpView& v, const CudaTraits&) { return tree_workspace(v.input(0).elements()); }

CudaKernel clip_cuda(const OpView& v, const CudaTraits&) {
  const int64_t partials = v.input(0).elements();
  const double max_norm = v.real("max_norm");
  const bool loss_is_f64 = v.input(1).dtype == DType::f64;
  return [=](const CudaCall& call) {
    const Scalars scalars{.loss_f32 = loss_is_f64 ? nullptr : call.in<float>(1),
                          .loss_f64 = loss_is_f64 ? call.in<double>(1) : nullptr,
                          .count = call.in<int32_t>(2),
                          .scale = call.out<float>(0),
                          .finite = call.out<int32_t>(1),
                          .metrics = call.out<float>(2),
                          .max_norm = max_norm};
    const RowOfTerms<float> terms{call.in<float>(0)};
    sum_levels(partials, terms, call.workspace, call.stream, [&](int64_t count, const auto& term) {
      sum_and_finish<<<1, kTreeThreads, 0, call.stream>>>(count, term, scalars);
      check_launch("clip");
    });
  };
}

}  // namespace centavo
