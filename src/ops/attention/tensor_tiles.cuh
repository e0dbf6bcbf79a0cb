// Tiles of bf16 in shared memory as the tensor cores want them.
//
// A tile has rows of kD elements, and 8 more to part them: with kD a multiple of 16 the rows of an 8 x 8 matrix then
// begin in different banks.
#pragma once

#include "ops/cuda/mma.cuh"

namespace centavo::flash {

constexpr int kKeys = 64;  // keys of a key tile

template <int kD>
constexpr int kTileStride = kD + 8;

// Starts copying rows [0, count) of `address(row)`, head_size wide, into a tile of kRows rows; zeros elsewhere.
template <int kD, int kRows, int kThreads, class Address>
__device__ inline void copy_rows(int32_t count, int32_t head_size, const Address& address, __nv_bfloat16* tile) {
  constexpr int kChunks = kD / 8;
#pragma unroll
  for (int i = 0; i < kRows * kChunks / kThreads; ++i) {
    const int at = i * kThreads + static_cast<int>(threadIdx.x);
    const int row = at / kChunks;
    const int column = at % kChunks * 8;
    const bool is_there = row < count && column < head_size;
    // A row that is not there is not read, but its address must be one.
    const __nv_bfloat16* source = address(is_there ? row : 0) + (is_there ? column : 0);
    copy_async_16(tile + row * kTileStride<kD> + column, source, !is_there);
  }
}

// A [16, 16] of a tile, its first element at (row, column).
template <int kD>
__device__ inline FragmentA load_a(const __nv_bfloat16* tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  FragmentA a;
  load_matrices(tile + (row + lane % 16) * kTileStride<kD> + column + lane / 16 * 8, a.at);
  return a;
}

// Two B [16, 8] of the tile's transpose: their columns are tile rows [row, row + 16), their rows tile columns.
template <int kD>
__device__ inline FragmentB2 load_b_of_rows(const __nv_bfloat16* tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  FragmentB2 b;
  load_matrices(tile + (row + lane / 16 * 8 + lane % 8) * kTileStride<kD> + column + lane / 8 % 2 * 8, b.at);
  return b;
}

// Two B [16, 8] of the tile as it is: their rows are tile rows [row, row + 16), their columns [column, column + 16).
template <int kD>
__device__ inline FragmentB2 load_b(const __nv_bfloat16* tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  FragmentB2 b;
  load_matrices_transposed(tile + (row + lane % 16) * kTileStride<kD> + column + lane / 16 * 8, b.at);
  return b;
}

// s [16 kRowTiles, 8 kColumnTiles] = rows of `a` from a_row on, times all rows of `b`.
template <int kD, int kRowTiles, int kColumnTiles>
__device__ inline void scores(const __nv_bfloat16* a, int a_row, const __nv_bfloat16* b,
                              float (&s)[kRowTiles][kColumnTiles][4]) {
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
      for (int c = 0; c < 4; ++c) s[i][j][c] = 0;
    }
  }
#pragma unroll
  for (int k = 0; k < kD; k += 16) {
    FragmentA left[kRowTiles];
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) left[i] = load_a<kD>(a, a_row + 16 * i, k);
#pragma unroll
    for (int j = 0; j < kColumnTiles; j += 2) {
      const FragmentB2 right = load_b_of_rows<kD>(b, 8 * j, k);
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        multiply_add(left[i], right, 0, s[i][j]);
        multiply_add(left[i], right, 1, s[i][j + 1]);
      }
    }
  }
}

// o [16 kRowTiles, kD] += p [16 kRowTiles, 8 kColumnTiles], rounded to bf16, times the rows of `b`.
template <int kD, int kRowTiles, int kColumnTiles>
__device__ inline void add_product(const float (&p)[kRowTiles][kColumnTiles][4], const __nv_bfloat16* b,
                                   float (&o)[kRowTiles][kD / 8][4]) {
#pragma unroll
  for (int k = 0; k < kColumnTiles; k += 2) {
    FragmentA left[kRowTiles];
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        left[i].at[2 * half] = pack_bf16(p[i][k + half][0], p[i][k + half][1]);
        left[i].at[2 * half + 1] = pack_bf16(p[i][k + half][2], p[i][k + half][3]);
      }
    }
#pragma unroll
    for (int d = 0; d < kD / 8; d += 2) {
      const FragmentB2 right = load_b<kD>(b, 8 * k, 8 * d);
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        multiply_add(left[i], right, 0, o[i][d]);
        multiply_add(left[i], right, 1, o[i][d + 1]);
      }
    }
  }
}

// Rows [row, row + 16) of a tile = factor[half] * o, rounded; only the calling warp may have used these rows.
template <int kD>
__device__ inline void put_rows(const float (&o)[kD / 8][4], const float (&factor)[2], int row, __nv_bfloat16* tile) {
  const int lane = threadIdx.x % 32;
  __syncwarp();
#pragma unroll
  for (int d = 0; d < kD / 8; ++d) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      __nv_bfloat16* to = tile + (row + 8 * half + lane / 4) * kTileStride<kD> + 8 * d + lane % 4 * 2;
      *reinterpret_cast<uint32_t*>(to) = pack_bf16(o[d][2 * half] * factor[half], o[d][2 * half + 1] * factor[half]);
    }
  }
  __syncwarp();
}

// Writes tile rows row + [0, count), at most kRows of them, head_size wide, to address(0), address(1), ...: one warp.
template <int kD, int kRows, class Address>
__device__ inline void store_rows(const __nv_bfloat16* tile, int row, int32_t count, int32_t head_size,
                                  const Address& address) {
  constexpr int kChunks = kD / 8;
  for (int at = threadIdx.x % 32; at < kRows * kChunks; at += 32) {
    const int r = at / kChunks;
    const int column = at % kChunks * 8;
    if (r < count && column < head_size) {
      *reinterpret_cast<uint4*>(address(r) + column) =
          *reinterpret_cast<const uint4*>(tile + (row + r) * kTileStride<kD> + column);
    }
  }
}

// The sum or maximum over the four lanes that share rows of a C.
__device__ inline float row_sum(float value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

__device__ inline float row_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

}  // namespace centavo::flash
