// Each thread draws kItems elements, a block's width apart. Bound by f64 arithmetic: a logarithm and a cosine an
// element, 0.2 s for 10^10 elements on GPUs with fast f64.

#include <numbers>

#include "ops/cuda/vectors.cuh"
#include "ops/normal/normal.h"

namespace centavo {
namespace {

constexpr int kItems = 4;

// RandomStream::normal.
__device__ inline double normal_of(const RandomStream& random, uint64_t element) {
  const auto r = philox(random.key, element, random.stream);
  const double u1 = (static_cast<double>(r[0]) + 1.0) * 0x1p-32;
  const double u2 = static_cast<double>(r[1]) * 0x1p-32;
  return sqrt(-2.0 * log(u1)) * cos(2.0 * std::numbers::pi * u2);
}

template <class T>
__global__ void __launch_bounds__(kElementThreads) draw_normal(NormalCall n, int64_t elements, T* y) {
  const int64_t first = int64_t{blockIdx.x} * kElementThreads * kItems + threadIdx.x;
  for (int j = 0; j < kItems; ++j) {
    const int64_t i = first + j * kElementThreads;
    if (i >= elements) return;
    // No fused multiply-add, as on the CPU.
    const double noise = __dmul_rn(n.law.deviation, normal_of(n.random, n.begin + static_cast<uint64_t>(i)));
    y[i] = from_float<T>(__double2float_rn(__dadd_rn(n.law.mean, noise)));
  }
}

}  // namespace

CudaKernel normal_cuda(const OpView& v, const CudaTraits&) {
  const int64_t elements = v.output(0).elements();
  const NormalCall n = normal_call(v);
  const unsigned blocks = blocks_for(elements, kElementThreads * kItems);
  return visit_cuda(v.output(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      draw_normal<<<blocks, kElementThreads, 0, call.stream>>>(n, elements, call.out<T>(0));
      check_launch("normal");
    };
  });
}

}  // namespace centavo
