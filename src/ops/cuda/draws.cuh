// What stochastic rounding draws on the GPU: the CPU's bits (base/rng.h), for several neighbouring elements at a time.
#pragma once

#include "base/rng.h"
#include "ops/cuda/device.cuh"

namespace centavo {

// 16 bits for each of N neighbouring elements: element j has half j % 2 (0: the low one) of word j / 2.
template <int N>
struct Draws {
  uint32_t words[(N + 1) / 2];

  __device__ uint32_t of(int j) const { return j % 2 == 0 ? words[j / 2] & 0xffffu : words[j / 2] >> 16; }
};

// Takes N elements' draws from those of two groups, from element `skip` of the first on.
template <int N>
__device__ inline Draws<N> cut_draws(const uint32_t (&groups)[8], uint32_t skip) {
  uint32_t words[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) words[i] = (skip & 4) != 0 && i < 6 ? groups[i + 2] : groups[i];
#pragma unroll
  for (int i = 0; i < 6; ++i) words[i] = (skip & 2) != 0 ? words[i + 1] : words[i];
  Draws<N> draws;
#pragma unroll
  for (int i = 0; i < (N + 1) / 2; ++i) draws.words[i] = __funnelshift_r(words[i], words[i + 1], 16 * (skip & 1));
  return draws;
}

// The draws of elements [first, first + N) for the operands 0 to kOperands - 1. One Philox an operand where the
// elements are of one group, as eight elements of an uncut tensor are; else two.
template <int N, int kOperands>
__device__ inline void draw(const RandomStream& stream, uint64_t first, Draws<N> (&draws)[kOperands]) {
  static_assert(N <= RandomStream::kGroup);
  const uint64_t g = first / RandomStream::kGroup;
  const auto skip = static_cast<uint32_t>(first % RandomStream::kGroup);
  uint32_t groups[kOperands][8] = {};
#pragma unroll
  for (int o = 0; o < kOperands; ++o) {
    const auto words = stream.group(o, g);
#pragma unroll
    for (int i = 0; i < 4; ++i) groups[o][i] = words[i];
#pragma unroll
    for (int i = 0; i < (N + 1) / 2; ++i) draws[o].words[i] = groups[o][i];
  }
  if (skip == 0) return;
#pragma unroll
  for (int o = 0; o < kOperands; ++o) {
    if (skip + N > RandomStream::kGroup) {
      const auto words = stream.group(o, g + 1);
#pragma unroll
      for (int i = 0; i < 4; ++i) groups[o][4 + i] = words[i];
    }
    draws[o] = cut_draws<N>(groups[o], skip);
  }
}

}  // namespace centavo
