// Each thread writes kItems vectors of 16 bytes, and elements where no vector fits. Moves the bytes of y once.

#include "ops/cuda/vectors.cuh"
#include "ops/fill/fill.h"

namespace centavo {
namespace {

constexpr int kItems = 4;

template <class T>
__global__ void __launch_bounds__(kElementThreads) fill_elements(float value, int64_t vectors, int64_t elements, T* y) {
  constexpr int kSize = Vec<T>::size;
  const T rounded = from_float<T>(value);
  Vec<T> all;
#pragma unroll
  for (int e = 0; e < kSize; ++e) all.at[e] = rounded;
  const int64_t first = int64_t{blockIdx.x} * kElementThreads * kItems + threadIdx.x;
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const int64_t at = first + j * kElementThreads;
    if (at < vectors) all.store(y + at * kSize);
  }
  for (int64_t i = vectors * kSize + grid_thread(); i < elements; i += grid_threads()) y[i] = rounded;
}

}  // namespace

CudaKernel fill_cuda(const OpView& v, const CudaTraits&) {
  const int64_t elements = v.output(0).elements();
  const float value = static_cast<float>(v.real("value"));
  return visit_cuda(v.output(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    constexpr int kSize = Vec<T>::size;
    const unsigned blocks = blocks_for(elements, kElementThreads * kItems * kSize);
    return [=](const CudaCall& call) {
      T* y = call.out<T>(0);
      const int64_t vectors = aligned_for_vectors({y}) ? elements / kSize : 0;
      fill_elements<<<blocks, kElementThreads, 0, call.stream>>>(value, vectors, elements, y);
      check_launch("fill");
    };
  });
}

}  // namespace centavo
