#include "base/parallel.h"
#include "ops/sqnorm/sqnorm.h"

namespace centavo {
namespace {

constexpr int64_t kSumLanes = 16;
constexpr int64_t kElementsPerThread = 32768;

double lane_tree(double* lanes) {
  for (int64_t half = kSumLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

template <class T>
float block_squares(const T* g, int64_t n) {
  double lanes[kSumLanes] = {};
  const int64_t even = n - n % kSumLanes;
  for (int64_t i = 0; i < even; i += kSumLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kSumLanes; ++l) lanes[l] += convert<double>(g[i + l]) * convert<double>(g[i + l]);
  }
  for (int64_t i = even; i < n; ++i) lanes[i - even] += convert<double>(g[i]) * convert<double>(g[i]);
  return static_cast<float>(lane_tree(lanes));
}

}  // namespace

CpuKernel sqnorm_cpu(const OpView& v, const CpuTraits&) {
  const int64_t n = v.input(0).elements();
  const int64_t block = v.whole("block");
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_for(norm_blocks(n, block), kElementsPerThread / block, [&](int64_t b) {
        const int64_t begin = b * block;
        call.out<float>(0)[b] = block_squares(call.in<T>(0) + begin, std::min(block, n - begin));
      });
    };
  });
}

}  // namespace centavo
