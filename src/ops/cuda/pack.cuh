// N elements side by side, kept in registers: the same code serves 16-byte accesses and, with N = 1, single elements.
#pragma once

#include "ops/cuda/device.cuh"

namespace centavo {

// The address must be a multiple of the size, or of 16 where there are more bytes; these are several accesses then.
template <class T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T at[N];

  static constexpr int kSixteens = static_cast<int>(N * sizeof(T)) / 16;

  __device__ static Pack load(const T* from) { return *reinterpret_cast<const Pack*>(from); }
  // For what is read once.
  __device__ static Pack load_streaming(const T* from) {
    if constexpr (kSixteens == 0) {
      return load(from);
    } else {
      Pack pack;
#pragma unroll
      for (int i = 0; i < kSixteens; ++i) {
        reinterpret_cast<int4*>(&pack)[i] = __ldcs(reinterpret_cast<const int4*>(from) + i);
      }
      return pack;
    }
  }
  __device__ void store(T* to) const { *reinterpret_cast<Pack*>(to) = *this; }
  __device__ void store_streaming(T* to) const {
    if constexpr (kSixteens == 0) {
      store(to);
    } else {
#pragma unroll
      for (int i = 0; i < kSixteens; ++i) {
        __stcs(reinterpret_cast<int4*>(to) + i, reinterpret_cast<const int4*>(this)[i]);
      }
    }
  }
};

}  // namespace centavo
