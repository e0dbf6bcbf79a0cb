// Small matrix products between tiles on the stack.
//
//   C [m, n] = A [m, k] B [k, n]   or   C += A B
//
// A has any two strides (a transposed operand costs nothing), B and C have contiguous rows. m counts up to a multiple
// of kBlockRows, n up to a multiple of kVectorLanes: tiles have room for that, what lands there is meaningless. Sums
// run over k in order. C shares no memory with A or B.
#pragma once

#include <cstdint>
#include <cstring>

#include "program/program.h"

namespace centavo::flash {

inline constexpr int64_t kVectorBytes = 32;
inline constexpr int64_t kBlockRows = 4;

template <class A>
inline constexpr int64_t kVectorLanes = kVectorBytes / static_cast<int64_t>(sizeof(A));

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Element (r, c) at data[r * row + c * column].
template <class A>
struct Strided {
  A* data;
  int64_t row;
  int64_t column = 1;
};

template <class A>
struct VectorOf {
  typedef A type __attribute__((vector_size(kVectorBytes)));
};

template <class A>
using Vector = typename VectorOf<A>::type;

template <class A>
inline Vector<A> load_vector(const A* from) {
  Vector<A> vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

// gcc would load the vector from memory again at each use, which halves the speed of the product.
template <class V>
inline void keep_in_register([[maybe_unused]] V& vector) {
#if defined(__AVX__)
  asm("" : "+x"(vector));
#endif
}

// kBlockRows rows times `vectors` vectors of C, held in registers while k runs.
template <int vectors, Bind bind, class A>
inline void block_product(int64_t k, Strided<const A> a, const A* b, int64_t b_row, A* c, int64_t c_row) {
  Vector<A> sum[kBlockRows][vectors] = {};
  for (int64_t step = 0; step < k; ++step) {
    Vector<A> right[vectors];
    for (int64_t v = 0; v < vectors; ++v) {
      right[v] = load_vector(b + step * b_row + v * kVectorLanes<A>);
      keep_in_register(right[v]);
    }
#pragma GCC unroll 4
    for (int64_t r = 0; r < kBlockRows; ++r) {
      const A left = a.data[r * a.row + step * a.column];
      for (int64_t v = 0; v < vectors; ++v) sum[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 4
  for (int64_t r = 0; r < kBlockRows; ++r) {
    for (int64_t v = 0; v < vectors; ++v) {
      A* target = c + r * c_row + v * kVectorLanes<A>;
      if constexpr (bind == Bind::add) sum[r][v] += load_vector(target);
      std::memcpy(target, &sum[r][v], sizeof(sum[r][v]));
    }
  }
}

struct ProductSize {
  int64_t m, n, k;
};

template <Bind bind, class A>
void tile_product(ProductSize size, Strided<const A> a, Strided<const A> b, Strided<A> c) {
  constexpr int64_t lanes = kVectorLanes<A>;
  int64_t j = 0;
  for (; j + lanes < size.n; j += 2 * lanes) {
    for (int64_t i = 0; i < size.m; i += kBlockRows) {
      const Strided<const A> rows{a.data + i * a.row, a.row, a.column};
      block_product<2, bind>(size.k, rows, b.data + j, b.row, c.data + i * c.row + j, c.row);
    }
  }
  if (j >= size.n) return;
  for (int64_t i = 0; i < size.m; i += kBlockRows) {
    const Strided<const A> rows{a.data + i * a.row, a.row, a.column};
    block_product<1, bind>(size.k, rows, b.data + j, b.row, c.data + i * c.row + j, c.row);
  }
}

}  // namespace centavo::flash
