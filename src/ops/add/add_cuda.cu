// Each thread adds kItems vectors of 16 bytes; what no vector covers (a tail, or all of it where an operand does not
// start at a multiple of 16 bytes) is added element by element. Moves the bytes of a, b and c once.

#include "ops/add/add.h"
#include "ops/cuda/vectors.cuh"

namespace centavo {
namespace {

constexpr int kItems = 4;

template <class T>
__device__ T sum_of(T a, T b) {
  return from_float<T>(to_float(a) + to_float(b));
}

// c may be a or b: each thread reads its elements before it writes them.
template <class T>
__global__ void __launch_bounds__(kElementThreads)
    add_elements(const T* a, const T* b, int64_t vectors, int64_t elements, T* c) {
  constexpr int kSize = Vec<T>::size;
  const int64_t first = int64_t{blockIdx.x} * kElementThreads * kItems + threadIdx.x;
  Vec<T> x[kItems], y[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const int64_t at = first + j * kElementThreads;
    if (at >= vectors) continue;
    x[j] = Vec<T>::load_streaming(a + at * kSize);
    y[j] = Vec<T>::load_streaming(b + at * kSize);
  }
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const int64_t at = first + j * kElementThreads;
    if (at >= vectors) continue;
#pragma unroll
    for (int e = 0; e < kSize; ++e) x[j].at[e] = sum_of(x[j].at[e], y[j].at[e]);
    x[j].store(c + at * kSize);
  }
  for (int64_t i = vectors * kSize + grid_thread(); i < elements; i += grid_threads()) c[i] = sum_of(a[i], b[i]);
}

}  // namespace

CudaKernel add_cuda(const OpView& v, const CudaTraits&) {
  const int64_t elements = v.input(0).elements();
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    constexpr int kSize = Vec<T>::size;
    const unsigned blocks = blocks_for(elements, kElementThreads * kItems * kSize);
    return [=](const CudaCall& call) {
      const T* a = call.in<T>(0);
      const T* b = call.in<T>(1);
      T* c = call.out<T>(0);
      const int64_t vectors = aligned_for_vectors({a, b, c}) ? elements / kSize : 0;
      add_elements<<<blocks, kElementThreads, 0, call.stream>>>(a, b, vectors, elements, c);
      check_launch("add");
    };
  });
}

}  // namespace centavo
