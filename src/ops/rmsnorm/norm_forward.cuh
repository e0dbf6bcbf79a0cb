// What the forwards of both norms share.
#pragma once

#include "ops/rmsnorm/rmsnorm_rows.cuh"

namespace centavo {

__device__ inline float rstd_of(float squares, int64_t columns, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(columns) + eps);
}

// x += delta, each sum rounded to T.
template <class S, class T>
__device__ void add_row(const Vec<T> (&delta)[S::vecs], Vec<T> (&x)[S::vecs]) {
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      x[k].at[e] = from_float<T>(to_float(x[k].at[e]) + to_float(delta[k].at[e]));
    }
  }
}

template <class S, class T>
__device__ void store_row_streaming(const Vec<T> (&x)[S::vecs], int vectors, T* row) {
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    if (at < vectors) x[k].store_streaming(row + at * Vec<T>::size);
  }
}

// The row that is normed: x, or x + delta, which is written to `sum` unless that is null. All are at their row.
template <class S, class T>
__device__ void load_sum(const T* x, const T* delta, int vectors, Vec<T> (&row)[S::vecs], T* sum) {
  load_row_streaming<S>(x, vectors, row);
  if (delta == nullptr) return;
  Vec<T> added[S::vecs];
  load_row_streaming<S>(delta, vectors, added);
  add_row<S>(added, row);
  if (sum != nullptr) store_row_streaming<S>(row, vectors, sum);
}

// The same of element i.
template <class T>
__device__ T summed(const T* x, const T* delta, int64_t i) {
  return delta == nullptr ? x[i] : from_float<T>(to_float(x[i]) + to_float(delta[i]));
}

}  // namespace centavo
