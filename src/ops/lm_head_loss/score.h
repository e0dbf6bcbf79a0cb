// One row of logits: its loss, and in place its gradient.
//
//   loss   = log(sum_v exp(row[v] - max)) - (row[target] - max)          f64
//   row[v] = exp(row[v] - max) / sum - (v == target)                     A
//
// A is f32 or f64. Exponentials are summed in A over tiles of 512 and then in f64, so the error of the sum does not
// grow with V: relative to the sum <= (511 + 4) u, u the roundoff of A (2 ulp of exp_fast included). A row with NaN
// or +inf gives NaN.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/fast_exp.h"

namespace centavo {

template <class A>
A row_maximum(const A* row, int64_t size) {
  A most = row[0];
#pragma omp simd reduction(max : most)
  for (int64_t v = 0; v < size; ++v) most = row[v] > most ? row[v] : most;
  return most;
}

// row[v] becomes exp(row[v] - maximum); returns their sum.
template <class A>
double exponentials(A* row, int64_t size, A maximum) {
  constexpr int64_t kTile = 512;
  double sum = 0;
  for (int64_t begin = 0; begin < size; begin += kTile) {
    const int64_t end = std::min(begin + kTile, size);
    A part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t v = begin; v < end; ++v) {
      row[v] = exp_fast(row[v] - maximum);
      part += row[v];
    }
    sum += static_cast<double>(part);
  }
  return sum;
}

struct Score {
  double loss = 0;
  double sum = 0;  // of the exponentials that now stand in the row
};

template <class A>
Score score(A* row, int64_t size, int64_t target) {
  const A maximum = row_maximum(row, size);
  const double correct = static_cast<double>(row[target]) - static_cast<double>(maximum);
  const double sum = exponentials(row, size, maximum);
  return {std::log(sum) - correct, sum};
}

// From the exponentials that `score` left in the row.
template <class A>
void differentiate_row(A* row, int64_t size, int64_t target, double sum) {
  const A scale = static_cast<A>(1.0 / sum);
#pragma omp simd
  for (int64_t v = 0; v < size; ++v) row[v] *= scale;
  row[target] -= A(1);
}

}  // namespace centavo
