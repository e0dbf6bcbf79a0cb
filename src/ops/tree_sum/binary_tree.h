// The sum of a row of numbers as a complete binary tree over their index.
//
//   (x0 + x1) + (x2 + x3) + …    padded with zeros to a power of two
//
// The order depends on the index alone. Zeros behind the row change no bit, so a padded row has the sum of the row.
#pragma once

#include <cstdint>

namespace centavo {

// `value(i)` for i in [0, count), asked for in order; added in f64. The sums of complete subtrees wait as the digits of
// a binary counter: leaf i closes as many subtrees as i has trailing ones; the open ones at the end are the tree's
// right edge.
template <class Value>
double tree_sum(int64_t count, const Value& value) {
  double waiting[64];
  int depth = 0;
  for (int64_t i = 0; i < count; ++i) {
    double sum = value(i);
    for (int64_t digits = i; (digits & 1) != 0; digits >>= 1) sum = waiting[--depth] + sum;
    waiting[depth++] = sum;
  }
  double total = 0;
  while (depth > 0) total = waiting[--depth] + total;
  return total;
}

}  // namespace centavo
