// amax: every thread takes the largest of its vectors of 16 bytes, four on their way at once; blocks join by an integer
// maximum of the bits, which orders magnitudes and is the same in any order. Reads x once.
// quantize: each thread scales four vectors of 16 bytes and packs each into one store. Reads x once and writes a byte
// an element. The product in f64 costs two conversions an element, below what memory allows on GPUs with fast f64.

#include <cuda_fp8.h>

#include "ops/cuda/pack.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/quantize/quantize.h"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kAmaxVectors = 4;
constexpr int kAmaxBlocksPerMultiprocessor = 16;
constexpr int kQuantizeVectors = 4;

template <class T>
__device__ inline float larger(float largest, const Vec<T>& v) {
#pragma unroll
  for (int j = 0; j < Vec<T>::size; ++j) largest = fmaxf(largest, fabsf(to_float(v.at[j])));  // NaN counts for nothing
  return largest;
}

template <class T>
__device__ float largest_of_thread(const T* x, int64_t vectors, int64_t elements) {
  constexpr int kSize = Vec<T>::size;
  float largest = 0;
  const int64_t step = kAmaxVectors * grid_threads();
  for (int64_t i = grid_thread(); i < vectors; i += step) {
    Vec<T> v[kAmaxVectors];
#pragma unroll
    for (int j = 0; j < kAmaxVectors; ++j) {
      const int64_t at = i + j * grid_threads();
      v[j] = Vec<T>::load(x + (at < vectors ? at : i) * kSize);
    }
#pragma unroll
    for (int j = 0; j < kAmaxVectors; ++j) largest = larger(largest, v[j]);
  }
  for (int64_t i = vectors * kSize + grid_thread(); i < elements; i += grid_threads()) {
    largest = fmaxf(largest, fabsf(to_float(x[i])));
  }
  return largest;
}

template <class T>
__global__ void __launch_bounds__(kThreads) find_amax(const T* x, int64_t vectors, int64_t elements, float* m) {
  __shared__ float shared[kWarps];
  const float of_warp = warp_max(largest_of_thread(x, vectors, elements));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = of_warp;
  __syncthreads();
  if (threadIdx.x != 0) return;
  float largest = 0;
  for (int warp = 0; warp < kWarps; ++warp) largest = fmaxf(largest, shared[warp]);
  atomicMax(reinterpret_cast<int*>(m), __float_as_int(largest));
}

template <class Q>
constexpr float largest_number() {
  return std::is_same_v<Q, __nv_fp8_e4m3> ? f8e4m3::kMax : f8e5m2::kMax;
}

template <class Q, class T>
__device__ inline __nv_fp8_storage_t quantized(T x, double factor) {
  constexpr __nv_fp8_interpretation_t kFormat = std::is_same_v<Q, __nv_fp8_e4m3> ? __NV_E4M3 : __NV_E5M2;
  const double value = to_float(x);
  return __nv_cvt_float_to_fp8(__double2float_rn(value * factor), __NV_SATFINITE, kFormat);
}

template <class Q, class T, int N>
__device__ inline void quantize_pack(const Pack<T, N>& x, double factor, uint8_t* q) {
  Pack<uint8_t, N> packed;
#pragma unroll
  for (int j = 0; j < N; ++j) packed.at[j] = quantized<Q>(x.at[j], factor);
  packed.store(q);
}

// kMax / m does not fit f32 when m is tiny, hence f64. One division a block.
template <class Q>
__device__ inline double factor_of_block(const float* m) {
  __shared__ double factor;
  if (threadIdx.x == 0) {
    const double magnitude = *m;
    factor = magnitude == 0 ? 0.0 : static_cast<double>(largest_number<Q>()) / magnitude;
  }
  __syncthreads();
  return factor;
}

template <class Q, class T>
__global__ void __launch_bounds__(kThreads)
    quantize_elements(const T* x, const float* m, int64_t packs, int64_t elements, uint8_t* q) {
  constexpr int N = Vec<T>::size;
  const int64_t first = int64_t{blockIdx.x} * kThreads * kQuantizeVectors + threadIdx.x;
  Pack<T, N> pack[kQuantizeVectors];
#pragma unroll
  for (int j = 0; j < kQuantizeVectors; ++j) {
    const int64_t at = first + j * kThreads;
    if (at < packs) pack[j] = Pack<T, N>::load_streaming(x + at * N);
  }
  const double factor = factor_of_block<Q>(m);
#pragma unroll
  for (int j = 0; j < kQuantizeVectors; ++j) {
    const int64_t at = first + j * kThreads;
    if (at < packs) quantize_pack<Q>(pack[j], factor, q + at * N);
  }
  for (int64_t i = packs * N + grid_thread(); i < elements; i += grid_threads()) {
    quantize_pack<Q>(Pack<T, 1>::load(x + i), factor, q + i);
  }
}

template <class Q>
CudaKernel quantize_into(const OpView& v) {
  const int64_t elements = v.input(0).elements();
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    const unsigned blocks = blocks_for(elements, kThreads * kQuantizeVectors * Vec<T>::size);
    return [=](const CudaCall& call) {
      const T* x = call.in<T>(0);
      uint8_t* q = call.out<uint8_t>(0);
      const int64_t packs = aligned_for_vectors({x, q}) ? elements / Vec<T>::size : 0;
      quantize_elements<Q><<<blocks, kThreads, 0, call.stream>>>(x, call.in<float>(1), packs, elements, q);
      check_launch("quantize");
    };
  });
}

}  // namespace

CudaKernel amax_cuda(const OpView& v, const CudaTraits& traits) {
  const int64_t elements = v.input(0).elements();
  const int64_t most = int64_t{kAmaxBlocksPerMultiprocessor} * traits.multiprocessors;
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    const int64_t per_block = int64_t{kThreads} * kAmaxVectors * Vec<T>::size;
    const auto blocks = static_cast<unsigned>(std::clamp<int64_t>(ceil_div(elements, per_block), 1, most));
    return [=](const CudaCall& call) {
      const T* x = call.in<T>(0);
      float* m = call.out<float>(0);
      cuda_check(cudaMemsetAsync(m, 0, sizeof(float), call.stream), "amax");
      const int64_t vectors = aligned_for_vectors({x}) ? elements / Vec<T>::size : 0;
      find_amax<<<blocks, kThreads, 0, call.stream>>>(x, vectors, elements, m);
      check_launch("amax");
    };
  });
}

CudaKernel quantize_cuda(const OpView& v, const CudaTraits&) {
  return v.text("format") == "e4m3" ? quantize_into<__nv_fp8_e4m3>(v) : quantize_into<__nv_fp8_e5m2>(v);
}

}  // namespace centavo
