// Small matrix products between tiles on the stack.
//
//   C [m, n] = A [m, k] B [k, n]   or   C = C + A B   or   C = diag(scale) C + A B
//
// A has any two strides (a transposed operand costs nothing), B and C have contiguous rows. m counts up to a multiple
// of kBlockRows, n up to a multiple of kVectorLanes: tiles have room for that, what lands there is meaningless. Sums
// run over k in order. C shares no memory with A or B.
//
// A product of tiles on the causal diagonal is half void. `part(i)` says what rows [i, i + kBlockRows) of C need: their
// columns, and the range of k over which A is not zero. Columns nobody needs keep what they held.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace centavo::flash {

// Vectors fill a register; a block of C and a row of B fill most of the register file, 32 registers or 16.
#if defined(__AVX512F__)
inline constexpr int64_t kVectorBytes = 64;
inline constexpr int kBlockVectors = 4;
#else
inline constexpr int64_t kVectorBytes = 32;
inline constexpr int kBlockVectors = 2;
#endif
inline constexpr int64_t kBlockRows = 4;

template <class A>
inline constexpr int64_t kVectorLanes = kVectorBytes / static_cast<int64_t>(sizeof(A));

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

inline int64_t round_down(int64_t n, int64_t multiple) { return n / multiple * multiple; }

// What becomes of C's earlier contents: row r times scale[r] is the third form.
enum class Earlier : uint8_t { dropped, kept, scaled };

// Element (r, c) at data[r * row + c * column].
template <class A>
struct Strided {
  A* data;
  int64_t row;
  int64_t column = 1;
};

template <class A>
struct VectorOf {
  typedef A type __attribute__((vector_size(kVectorBytes)));  // NOLINT: using drops it from a dependent type
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
#if defined(__AVX512F__)
  asm("" : "+v"(vector));
#elif defined(__AVX__)
  asm("" : "+x"(vector));
#endif
}

// kBlockRows rows times `vectors` vectors of C, held in registers while k runs.
template <int vectors, Earlier earlier, class A>
inline void block_product(int64_t k, Strided<const A> a, const A* b, int64_t b_row, A* c, int64_t c_row,
                          const A* scale) {
  Vector<A> sum[kBlockRows][vectors] = {};
  for (int64_t step = 0; step < k; ++step) {
    Vector<A> right[vectors];
#pragma GCC unroll 4
    for (int64_t v = 0; v < vectors; ++v) {
      Vector<A> loaded = load_vector(b + step * b_row + v * kVectorLanes<A>);
      keep_in_register(loaded);
      right[v] = loaded;
    }
#pragma GCC unroll 4
    for (int64_t r = 0; r < kBlockRows; ++r) {
      const A left = a.data[r * a.row + step * a.column];
#pragma GCC unroll 4
      for (int64_t v = 0; v < vectors; ++v) sum[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 4
  for (int64_t r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 4
    for (int64_t v = 0; v < vectors; ++v) {
      A* target = c + r * c_row + v * kVectorLanes<A>;
      if constexpr (earlier == Earlier::kept) sum[r][v] += load_vector(target);
      if constexpr (earlier == Earlier::scaled) sum[r][v] += scale[r] * load_vector(target);
      std::memcpy(target, &sum[r][v], sizeof(sum[r][v]));
    }
  }
}

struct Range {
  int64_t begin, end;
};

struct Part {
  Range columns;
  Range k;
};

// As many vectors at a time as a block has, then what is left.
template <int vectors, Earlier earlier, class A>
inline void row_block(const Part& part, Strided<const A> a, Strided<const A> b, Strided<A> c, const A* scale) {
  constexpr int64_t width = vectors * kVectorLanes<A>;
  Part rest = part;
  while (rest.columns.begin + width - kVectorLanes<A> < rest.columns.end) {
    block_product<vectors, earlier>(part.k.end - part.k.begin, {a.data + part.k.begin * a.column, a.row, a.column},
                                    b.data + part.k.begin * b.row + rest.columns.begin, b.row,
                                    c.data + rest.columns.begin, c.row, scale);
    rest.columns.begin += width;
  }
  if constexpr (vectors > 1) row_block<vectors - 1, earlier>(rest, a, b, c, scale);
}

// `scale` is read by Earlier::scaled only.
template <Earlier earlier, class A, class Parts>
void tile_product(int64_t m, Strided<const A> a, Strided<const A> b, Strided<A> c, const Parts& part,
                  const A* scale = nullptr) {
  for (int64_t i = 0; i < m; i += kBlockRows) {
    row_block<kBlockVectors, earlier>(part(i), {a.data + i * a.row, a.row, a.column}, b, {c.data + i * c.row, c.row},
                                      scale == nullptr ? nullptr : scale + i);
  }
}

// Of two rows that stand `step` apart in a block: elements that stand so far off the diagonal change places.
template <int step, class A, int... lane>
inline void swap_off_diagonal(Vector<A>& upper, Vector<A>& lower, std::integer_sequence<int, lane...>) {
  constexpr int lanes = sizeof...(lane);
  const Vector<A> a = upper;
  const Vector<A> b = lower;
  upper = __builtin_shufflevector(a, b, ((lane & step) == 0 ? lane : lanes + lane - step)...);
  lower = __builtin_shufflevector(a, b, ((lane & step) == 0 ? lane + step : lanes + lane)...);
}

// The rows of a square block of kVectorLanes vectors become its columns, in steps of 1, 2, 4, ...
template <int step, class A>
inline void transpose(Vector<A>* block) {
  constexpr int lanes = static_cast<int>(kVectorLanes<A>);
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) {
    if ((i & step) != 0) continue;
    swap_off_diagonal<step, A>(block[i], block[i + step], std::make_integer_sequence<int, lanes>());
  }
  if constexpr (2 * step < lanes) transpose<2 * step, A>(block);
}

}  // namespace centavo::flash
