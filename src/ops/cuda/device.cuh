// What the CUDA kernels of all ops share: checked calls, element types, 16-byte vectors, sums over a warp and a block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "base/dtype.h"
#include "ops/cuda/check.cuh"
#include "program/op_table.h"

namespace centavo {

// Calls f(TypeTag<T>{}) with the device type of an element type: float or __nv_bfloat16. CHECKs that it is one of them.
template <class F>
decltype(auto) visit_cuda(DType dtype, F&& f) {
  CHECK(dtype == DType::f32 || dtype == DType::bf16, "{} has no CUDA kernels", name_of(dtype));
  if (dtype == DType::f32) return f(TypeTag<float>{});
  return f(TypeTag<__nv_bfloat16>{});
}

template <class T>
__device__ inline float to_float(T value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return __bfloat162float(value);
  }
}

// Rounds to nearest, ties to even.
template <class T>
__device__ inline T from_float(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return __float2bfloat16_rn(value);
  }
}

// 16 bytes of T, loaded and stored in one access; the address must be a multiple of 16.
template <class T>
struct alignas(16) Vec {
  static constexpr int size = 16 / static_cast<int>(sizeof(T));
  T at[size];

  __device__ static Vec load(const T* from) { return *reinterpret_cast<const Vec*>(from); }
  // For what is read once: does not stay in the caches.
  __device__ static Vec load_streaming(const T* from) {
    Vec v;
    *reinterpret_cast<int4*>(&v) = __ldcs(reinterpret_cast<const int4*>(from));
    return v;
  }
  __device__ void store(T* to) const { *reinterpret_cast<Vec*>(to) = *this; }
  // To global memory; of the other one the compiler may make several accesses.
  __device__ void store_global(T* to) const {
    const int4& v = *reinterpret_cast<const int4*>(this);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(v.x), "r"(v.y),
                 "r"(v.z), "r"(v.w)
                 : "memory");
  }
  __device__ void store_streaming(T* to) const {
    __stcs(reinterpret_cast<int4*>(to), *reinterpret_cast<const int4*>(this));
  }
};

// The sum over a warp in every lane, as a butterfly: a fixed order.
__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) value += __shfl_xor_sync(0xffffffffu, value, apart);
  return value;
}

__device__ inline float warp_max(float value) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, apart));
  return value;
}

// The sum over a block of kThreads (a multiple of 32) in every thread; `shared` holds kThreads / 32 floats. Begins and
// ends with a barrier, so that `shared` may be used again at once.
template <int kThreads>
__device__ inline float block_sum(float value, float* shared) {
  value = warp_sum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) total += shared[warp];
  __syncthreads();
  return total;
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace centavo
