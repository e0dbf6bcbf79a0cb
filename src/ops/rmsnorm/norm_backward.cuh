// What the backwards of both norms share: a block's rows come through shared memory, and its sums over rows are added
// to those of the other blocks.
#pragma once

#include <algorithm>

#include "ops/cuda/copies.cuh"
#include "ops/rmsnorm/rmsnorm_rows.cuh"

namespace centavo {

// How rows are cut: all of the `count` blocks have as many sets of `together` rows, or one set more.
struct RowBlocks {
  int64_t rows, together, count;

  __device__ int64_t begin(int64_t b) const {
    const int64_t sets = (rows + together - 1) / together;
    return min(b * sets / count * together, rows);
  }
};

// Of an H100 SXM or H200; on other GPUs rows are cut in the same way and give the same bits.
constexpr int64_t kMultiprocessors = 132;
constexpr int64_t kLeastBlockRows = 8;
constexpr int64_t kMostBlockRows = 64;  // more save little

// Whole waves of blocks: a last one of a few would take as long as any. resident(S) is how many blocks of RowShape S
// a multiprocessor runs at once.
template <class T, class Resident>
RowBlocks cut_rows(int64_t rows, int64_t columns, Resident&& resident) {
  int64_t wave = 4 * kMultiprocessors, together = 1;  // of rows that no shape fits
  if (fits_row_shapes<T>(columns)) {
    visit_row_shape(columns / Vec<T>::size, [&](auto shape) {
      wave = resident(shape) * kMultiprocessors;
      together = shape.rows;
    });
  }
  const int64_t count = wave * ceil_div(rows, kMostBlockRows * wave);
  return {rows, together, std::clamp<int64_t>(ceil_div(rows, kLeastBlockRows), 1, count)};
}

template <class T>
struct NormOperands {
  const T *dh, *sum, *dsum;  // dsum may be null
  int64_t columns;
};

// The thread's vectors of one row.
template <class S, class T>
struct NormRow {
  Vec<T> dh[S::vecs], sum[S::vecs], dsum[S::vecs];
};

// The row that comes next: the thread's vectors in shared memory, which no other thread touches, so without barriers.
template <class S, class T>
class NextNormRow {
 public:
  static constexpr int bytes = 3 * S::vecs * S::threads * 16;

  __device__ NextNormRow(int4* shared, bool has_dsum) : mine_(shared + threadIdx.x) {
    if (has_dsum) return;
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) *place(2, k) = int4{0, 0, 0, 0};
  }

  __device__ void begin(const NormOperands<T>& of, int64_t row, int vectors) {
    const int64_t start = row * of.columns;
    begin_operand(0, of.dh + start, vectors);
    begin_operand(1, of.sum + start, vectors);
    if (of.dsum != nullptr) begin_operand(2, of.dsum + start, vectors);
  }

  __device__ NormRow<S, T> take() const {
    wait_for_copies();
    NormRow<S, T> row;
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) {
      row.dh[k] = at(0, k);
      row.sum[k] = at(1, k);
      row.dsum[k] = at(2, k);
    }
    return row;
  }

 private:
  __device__ int4* place(int operand, int k) const { return mine_ + (operand * S::vecs + k) * S::threads; }
  __device__ Vec<T> at(int operand, int k) const { return Vec<T>::load(reinterpret_cast<const T*>(place(operand, k))); }
  // Zeros where the row has no such vector; nothing is read then.
  __device__ void begin_operand(int operand, const T* row, int vectors) {
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) {
      const int at = vector_at<S>(k);
      copy_async_16(place(operand, k), row + at * Vec<T>::size, at >= vectors);
    }
  }

  int4* mine_;
};

// The floats of one vector of T, in 16-byte accesses.
template <int kSize>
__device__ void store_floats(const float (&from)[kSize], float* to) {
#pragma unroll
  for (int e = 0; e < kSize; e += 4) {
    *reinterpret_cast<float4*>(to + e) = float4{from[e], from[e + 1], from[e + 2], from[e + 3]};
  }
}

// The block's sums; where each warp has rows of its own, those of the warps in order.
template <class S, class T>
__device__ void store_norm_partials(const float (&sums)[S::vecs][Vec<T>::size], int vectors, float* to) {
  constexpr int kSize = Vec<T>::size;
  if constexpr (S::rows == 1) {
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) {
      const int at = vector_at<S>(k);
      if (at < vectors) store_floats(sums[k], to + at * kSize);
    }
  } else {
    __shared__ alignas(16) float parts[S::rows][S::vecs * S::row_threads * kSize];
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) {
      store_floats(sums[k], parts[threadIdx.x / S::row_threads] + vector_at<S>(k) * kSize);
    }
    __syncthreads();
    for (int c = threadIdx.x; c < vectors * kSize; c += S::threads) {
      float total = 0;
#pragma unroll
      for (int r = 0; r < S::rows; ++r) total += parts[r][c];
      to[c] = total;
    }
  }
}

// Of add_norm_partials: columns of a block, of 32 bytes together, and threads to a column.
constexpr int kNormTile = 8;
constexpr int kNormParts = 32;

// A gradient of kNormTile columns: each of kNormParts threads adds every kNormParts-th block in order, then these sums
// are added. The sums of a block lie `stride` floats from those of the next.
template <class G>
__device__ void add_norm_columns(const float* partials, int64_t blocks, int64_t stride, int64_t columns, Bind bind,
                                 G* gradient) {
  __shared__ float sums[kNormParts][kNormTile + 1];
  const int64_t c = int64_t{blockIdx.x} * kNormTile + threadIdx.x;
  float total = 0;
  if (c < columns) {
#pragma unroll 16
    for (int64_t b = threadIdx.y; b < blocks; b += kNormParts) total += partials[b * stride + c];
  }
  sums[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || c >= columns) return;
  total = bind == Bind::add ? to_float(gradient[c]) : 0.0f;
#pragma unroll
  for (int t = 0; t < kNormParts; ++t) total += sums[t][threadIdx.x];
  gradient[c] = from_float<G>(total);
}

template <class G>
__global__ void __launch_bounds__(kNormTile* kNormParts)
    add_norm_partials(const float* partials, int64_t blocks, int64_t stride, int64_t columns, Bind bind, G* gradient) {
  add_norm_columns(partials, blocks, stride, columns, bind, gradient);
}

template <class G>
void launch_add_norm_partials(const float* partials, int64_t blocks, int64_t stride, int64_t columns, Bind bind,
                              G* gradient, cudaStream_t stream) {
  add_norm_partials<<<blocks_for(columns, kNormTile), dim3(kNormTile, kNormParts), 0, stream>>>(
      partials, blocks, stride, columns, bind, gradient);
  check_launch("the sums of a norm's gradient");
}

}  // namespace centavo
