// Rows held in registers: each vector of a row is loaded once and stays with its thread over all passes.
#pragma once

#include "ops/cuda/vectors.cuh"

namespace centavo {

// kRowThreads threads hold a row, kVecs vectors each: vector k of thread t is number k * kRowThreads + t of the row.
// Narrow rows belong to a warp, four to a block, and need no barrier; wide ones to a whole block.
template <int kRowThreads, int kVecs>
struct RowShape {
  static constexpr int row_threads = kRowThreads;
  static constexpr int vecs = kVecs;
  static constexpr int threads = kRowThreads < 128 ? 128 : kRowThreads;
  static constexpr int rows = threads / kRowThreads;
  static constexpr int warps = threads / 32;
};

constexpr int64_t kMostRowVectors = 2048;

// Calls f with the RowShape for rows of `vectors` vectors, at most kMostRowVectors.
template <class F>
void visit_row_shape(int64_t vectors, F&& f) {
  if (vectors <= 32) return f(RowShape<32, 1>{});
  if (vectors <= 64) return f(RowShape<32, 2>{});
  if (vectors <= 96) return f(RowShape<32, 3>{});
  if (vectors <= 128) return f(RowShape<32, 4>{});
  if (vectors <= 256) return f(RowShape<128, 2>{});
  if (vectors <= 384) return f(RowShape<128, 3>{});
  if (vectors <= 512) return f(RowShape<128, 4>{});
  if (vectors <= 768) return f(RowShape<256, 3>{});
  if (vectors <= 1024) return f(RowShape<256, 4>{});
  if (vectors <= 1536) return f(RowShape<512, 3>{});
  return f(RowShape<512, 4>{});
}

// Can rows of this many columns be held in registers?
template <class T>
bool fits_row_shapes(int64_t columns) {
  return columns % Vec<T>::size == 0 && columns / Vec<T>::size <= kMostRowVectors;
}

// Calls `rows` with the RowShape of rows of T that all `operands` hold in 16-byte vectors, else `any`.
template <class T, class Rows, class Any>
void visit_norm_kernel(int64_t columns, std::initializer_list<const void*> operands, Rows&& rows, Any&& any) {
  if (fits_row_shapes<T>(columns) && aligned_for_vectors(operands)) {
    visit_row_shape(columns / Vec<T>::size, rows);
  } else {
    any();
  }
}

// The number of vector k of this thread in its row.
template <class S>
__device__ int vector_at(int k) {
  return k * S::row_threads + static_cast<int>(threadIdx.x) % S::row_threads;
}

// Zeros where the row has no such vector.
template <class S, class T>
__device__ void load_row(const T* row, int vectors, Vec<T> (&to)[S::vecs]) {
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    *reinterpret_cast<int4*>(&to[k]) = int4{0, 0, 0, 0};
    if (at < vectors) to[k] = Vec<T>::load(row + at * Vec<T>::size);
  }
}

template <class S, class T>
__device__ void load_row_streaming(const T* row, int vectors, Vec<T> (&to)[S::vecs]) {
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    *reinterpret_cast<int4*>(&to[k]) = int4{0, 0, 0, 0};
    if (at < vectors) to[k] = Vec<T>::load_streaming(row + at * Vec<T>::size);
  }
}

// Floats of a norm's weight or bias, in 16-byte accesses; all rows read the same, so they come from the L1 cache.
template <int kSize>
__device__ void load_floats(const float* from, float (&to)[kSize]) {
#pragma unroll
  for (int e = 0; e < kSize; e += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + e);
    to[e] = four.x;
    to[e + 1] = four.y;
    to[e + 2] = four.z;
    to[e + 3] = four.w;
  }
}

// Those of vector k of this thread; zeros where the row has no such vector.
template <class S, int kSize>
__device__ void load_floats_of_row(const float* row, int k, int vectors, float (&to)[kSize]) {
  const int at = vector_at<S>(k);
#pragma unroll
  for (int e = 0; e < kSize; ++e) to[e] = 0;
  if (at < vectors) load_floats(row + at * kSize, to);
}

// The compiler forgets what it knows of these values: it converts a bf16 row a second time in the second pass instead
// of keeping the floats of the first, which would take twice the registers.
template <class S, class T>
__device__ void forget(Vec<T> (&row)[S::vecs]) {
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    int4& words = *reinterpret_cast<int4*>(&row[k]);
    asm volatile("" : "+r"(words.x), "+r"(words.y), "+r"(words.z), "+r"(words.w));
  }
}

// The sum over the threads of a row, in each of them. Costs one barrier where a row has several warps; `shared` holds
// S::warps floats, and a block that sums again and again uses two such places in turn.
template <class S>
__device__ float row_sum(float value, float* shared) {
  value = warp_sum(value);
  if constexpr (S::row_threads == 32) {
    return value;
  } else {
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < S::warps; ++warp) total += shared[warp];
    return total;
  }
}

}  // namespace centavo
