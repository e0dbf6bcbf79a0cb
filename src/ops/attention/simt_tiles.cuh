// Tiles of f32 in shared memory and what 16 x 16 threads do with them.
#pragma once

#include <cstdint>

#include "ops/cuda/device.cuh"

namespace centavo::flash {

constexpr int kSimtThreads = 256;

// A tile has kTile_ rows of up to 16 kColumns_ elements, and one more to part them: 16 rows begin in different banks.
template <int kTile_, int kColumns_>
struct SimtShape {
  static constexpr int kTile = kTile_;
  static constexpr int kColumns = kColumns_;  // of a thread, of a sum
  static constexpr int kMicro = kTile / 16;   // rows of a thread, and its scores of a row
  static constexpr int kWidth = 16 * kColumns;
  static constexpr int kStride = kWidth + 1;
  static constexpr int kOperand = kTile * kStride;  // elements
  static constexpr int kWeights = kTile * (kTile + 1);
};

struct SimtThread {
  int x = static_cast<int>(threadIdx.x) % 16;
  int y = static_cast<int>(threadIdx.x) / 16;
};

// The sum or maximum over the 16 threads of a row, in each of them.
__device__ inline float half_warp_sum(float value) {
#pragma unroll
  for (int apart = 8; apart > 0; apart /= 2) value += __shfl_xor_sync(0xffffffffu, value, apart);
  return value;
}

__device__ inline float half_warp_max(float value) {
#pragma unroll
  for (int apart = 8; apart > 0; apart /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, apart));
  return value;
}

// Rows [0, count) of `address(row)`, head_size wide; zeros elsewhere.
template <class Shape, class Address>
__device__ inline void load_rows_simt(int32_t count, int32_t head_size, const Address& address, float* tile) {
  for (int at = threadIdx.x; at < Shape::kTile * Shape::kWidth; at += kSimtThreads) {
    const int row = at / Shape::kWidth;
    const int column = at % Shape::kWidth;
    tile[row * Shape::kStride + column] = row < count && column < head_size ? to_float(address(row)[column]) : 0.0f;
  }
}

// s = the thread's rows of a times its rows of b.
template <class Shape>
__device__ inline void scores_simt(const float* a, const float* b, float (&s)[Shape::kMicro][Shape::kMicro]) {
  const SimtThread thread;
#pragma unroll
  for (int i = 0; i < Shape::kMicro; ++i) {
#pragma unroll
    for (int j = 0; j < Shape::kMicro; ++j) s[i][j] = 0;
  }
#pragma unroll 4
  for (int d = 0; d < Shape::kWidth; ++d) {
    float left[Shape::kMicro];
#pragma unroll
    for (int i = 0; i < Shape::kMicro; ++i) left[i] = a[(thread.y + 16 * i) * Shape::kStride + d];
#pragma unroll
    for (int j = 0; j < Shape::kMicro; ++j) {
      const float right = b[(thread.x + 16 * j) * Shape::kStride + d];
#pragma unroll
      for (int i = 0; i < Shape::kMicro; ++i) s[i][j] += left[i] * right;
    }
  }
}

// o += p times the rows of b; p goes through `weights`, whose rows belong to the threads of a half warp.
template <class Shape>
__device__ inline void add_product_simt(const float (&p)[Shape::kMicro][Shape::kMicro], const float* b, float* weights,
                                        float (&o)[Shape::kMicro][Shape::kColumns]) {
  const SimtThread thread;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < Shape::kMicro; ++i) {
#pragma unroll
    for (int j = 0; j < Shape::kMicro; ++j) {
      weights[(thread.y + 16 * i) * (Shape::kTile + 1) + thread.x + 16 * j] = p[i][j];
    }
  }
  __syncwarp();
#pragma unroll 2
  for (int k = 0; k < Shape::kTile; ++k) {
    float left[Shape::kMicro];
#pragma unroll
    for (int i = 0; i < Shape::kMicro; ++i) left[i] = weights[(thread.y + 16 * i) * (Shape::kTile + 1) + k];
#pragma unroll
    for (int c = 0; c < Shape::kColumns; ++c) {
      const float right = b[k * Shape::kStride + thread.x + 16 * c];
#pragma unroll
      for (int i = 0; i < Shape::kMicro; ++i) o[i][c] += left[i] * right;
    }
  }
}

// factor * o, the thread's columns of one row.
template <class Shape, class T>
__device__ inline void put_row_simt(const float (&o)[Shape::kColumns], float factor, int32_t head_size, T* row) {
  const SimtThread thread;
#pragma unroll
  for (int c = 0; c < Shape::kColumns; ++c) {
    const int column = thread.x + 16 * c;
    if (column < head_size) row[column] = from_float<T>(o[c] * factor);
  }
}

}  // namespace centavo::flash
