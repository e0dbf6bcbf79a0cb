// Neighbouring elements as floats and back, a word at a time, and the GPU's own functions of floats.
//
// Two bf16 are a word: a shift and a mask make floats of them, one instruction rounds and packs two. Element by element
// the compiler needs twice as many instructions, and it takes words apart where they were loaded: a load under a branch
// is then waited for inside it.
#pragma once

#include "ops/cuda/device.cuh"

namespace centavo {

template <class T, int N>
constexpr bool kInWords = std::is_same_v<T, __nv_bfloat16>&& N % 2 == 0;

// `from` must start at a multiple of 4 bytes where N is even, as in Vec and Pack.
template <class T, int N>
__device__ inline void unpack(const T (&from)[N], float (&to)[N]) {
  if constexpr (kInWords<T, N>) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      const uint32_t word = *reinterpret_cast<const uint32_t*>(from + i);
      to[i] = __uint_as_float(word << 16);
      to[i + 1] = __uint_as_float(word & 0xffff0000u);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = to_float(from[i]);
  }
}

// Rounds to nearest, ties to even.
template <class T, int N>
__device__ inline void pack(const float (&from)[N], T (&to)[N]) {
  if constexpr (kInWords<T, N>) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      *reinterpret_cast<__nv_bfloat162*>(to + i) = __floats2bfloat162_rn(from[i], from[i + 1]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = from_float<T>(from[i]);
  }
}

// Within one unit in the last place. Arguments and results below 2^-126 are 0.
__device__ inline float reciprocal_flushed(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Within 2^-23 of the exact root. Arguments below 2^-126 are 0.
__device__ inline float sqrt_flushed(float x) {
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace centavo
