// N elements side by side, kept in registers: the same code serves 16-byte accesses and, with N = 1, single elements.
#pragma once

#include "ops/cuda/device.cuh"

namespace centavo {

// What N elements are accessed as.
template <size_t kBytes>
using Accessed = std::conditional_t<
    kBytes >= 16, int4,
    std::conditional_t<kBytes == 8, int2,
                       std::conditional_t<kBytes == 4, int32_t, std::conditional_t<kBytes == 2, int16_t, int8_t>>>>;

// The address must be a multiple of the size, or of 16 where there are more bytes; these are several accesses then.
template <class T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T at[N];

  using Access = Accessed<N * sizeof(T)>;
  static constexpr int kAccesses = static_cast<int>(N * sizeof(T) / sizeof(Access));
  static_assert(kAccesses * sizeof(Access) == N * sizeof(T));

  __device__ static Pack load(const T* from) {
    Pack pack;
#pragma unroll
    for (int i = 0; i < kAccesses; ++i) {
      reinterpret_cast<Access*>(&pack)[i] = reinterpret_cast<const Access*>(from)[i];
    }
    return pack;
  }
  // For what is read once.
  __device__ static Pack load_streaming(const T* from) {
    Pack pack;
#pragma unroll
    for (int i = 0; i < kAccesses; ++i) {
      reinterpret_cast<Access*>(&pack)[i] = __ldcs(reinterpret_cast<const Access*>(from) + i);
    }
    return pack;
  }
  __device__ void store(T* to) const {
#pragma unroll
    for (int i = 0; i < kAccesses; ++i) {
      reinterpret_cast<Access*>(to)[i] = reinterpret_cast<const Access*>(this)[i];
    }
  }
  __device__ void store_streaming(T* to) const {
#pragma unroll
    for (int i = 0; i < kAccesses; ++i) {
      __stcs(reinterpret_cast<Access*>(to) + i, reinterpret_cast<const Access*>(this)[i]);
    }
  }
};

}  // namespace centavo
