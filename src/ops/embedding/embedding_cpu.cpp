#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "ops/embedding/embedding.h"

namespace centavo {
namespace {

constexpr int64_t kTokensPerThread = 16;
// dweight is cut both ways: one token id may own most of the work (padding, a newline).
constexpr int64_t kRowTile = 256;
constexpr int64_t kColumnTile = 256;

bool names_row(int32_t token, int64_t vocab) { return token >= 0 && token < vocab; }

// The tokens of each id, in token order: those of v stand in order[ends[v - 1]] to order[ends[v] - 1].
struct Segments {
  int32_t* ends;   // [V]
  int32_t* order;  // [N]

  int32_t begin(int64_t v) const { return v == 0 ? 0 : ends[v - 1]; }
  int32_t end(int64_t v) const { return ends[v]; }
};

// Counting sort. `ends` first counts, then holds each segment's beginning, and is moved to its end by the filling.
void sort_tokens(const int32_t* tokens, int64_t count, int64_t vocab, const Segments& s) {
  std::fill(s.ends, s.ends + vocab, 0);
  for (int64_t n = 0; n < count; ++n) {
    if (names_row(tokens[n], vocab)) ++s.ends[tokens[n]];
  }
  int32_t next = 0;
  for (int64_t v = 0; v < vocab; ++v) {
    const int32_t length = s.ends[v];
    s.ends[v] = next;
    next += length;
  }
  for (int64_t n = 0; n < count; ++n) {
    if (names_row(tokens[n], vocab)) s.order[s.ends[tokens[n]]++] = static_cast<int32_t>(n);
  }
}

// Rows that no token names become 0, in runs: memset writes long ones without reading them first.
template <class G>
void zero_unnamed(const Segments& s, int64_t vocab, int64_t columns, G* dweight) {
  parallel_ranges(vocab, kRowTile, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end;) {
      int64_t run = v;
      while (run < end && s.begin(run) == s.end(run)) ++run;
      std::memset(static_cast<void*>(dweight + v * columns), 0, static_cast<size_t>((run - v) * columns) * sizeof(G));
      v = run + 1;
    }
  });
}

template <class G, class A>
void store(const A* total, int64_t columns, Bind bind, G* dweight) {
  for (int64_t c = 0; c < columns; ++c) {
    const A before = bind == Bind::add ? convert<A>(dweight[c]) : A(0);
    dweight[c] = convert<G>(before + total[c]);
  }
}

// `columns` elements of one row of dweight, at most kColumnTile; dx and dweight stand at the tile's first column.
template <class T, class G>
void sum_segment(const T* dx, const int32_t* begin, const int32_t* end, int64_t stride, int64_t columns, Bind bind,
                 G* dweight) {
  using A = Accumulator<T>;
  if (begin == end) return;
  A total[kColumnTile] = {};
  for (const int32_t* n = begin; n != end; ++n) {
    const T* row = dx + *n * stride;
    for (int64_t c = 0; c < columns; ++c) total[c] += convert<A>(row[c]);
  }
  store(total, columns, bind, dweight);
}

int64_t tiles(int64_t size, int64_t tile) { return (size + tile - 1) / tile; }

template <class T, class G>
void sum_segments(const Segments& s, const T* dx, int64_t vocab, int64_t columns, Bind bind, G* dweight) {
  if (bind == Bind::write) zero_unnamed(s, vocab, columns, dweight);
  const int64_t across = tiles(columns, kColumnTile);
  parallel_items(tiles(vocab, kRowTile) * across, [&](int64_t item) {
    const int64_t v0 = item / across * kRowTile;
    const int64_t c0 = item % across * kColumnTile;
    const int64_t width = std::min(kColumnTile, columns - c0);
    for (int64_t v = v0; v < std::min(v0 + kRowTile, vocab); ++v) {
      sum_segment(dx + c0, s.order + s.begin(v), s.order + s.end(v), columns, width, bind, dweight + v * columns + c0);
    }
  });
}

template <class T>
struct Table {
  const T* weight;
  int64_t rows, columns;

  // Null where no row is named.
  const T* row(int32_t id) const { return names_row(id, rows) ? weight + id * columns : nullptr; }
};

template <class T>
void copy_row(const T* from, int64_t columns, T* x) {
  if (from != nullptr) {
    std::copy_n(from, columns, x);
  } else {
    std::fill_n(x, columns, T());
  }
}

template <class T>
void add_rows(const T* token, const T* position, int64_t columns, T* x) {
  using A = Accumulator<T>;
  if (token == nullptr || position == nullptr) return copy_row(token == nullptr ? position : token, columns, x);
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) x[c] = convert<T>(convert<A>(token[c]) + convert<A>(position[c]));
}

}  // namespace

CpuKernel embedding_cpu(const OpView& v, const CpuTraits&) {
  const int64_t count = v.input(0).elements();
  const int64_t vocab = v.in(1)[0];
  const int64_t columns = v.in(1)[1];
  const int64_t most_positions = v.has_input(3) ? v.in(3)[0] : 0;
  return visit_compute(v.input(1).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      const int32_t* tokens = call.in<int32_t>(0);
      const int32_t* positions = call.in<int32_t>(2);
      const Table<T> words{call.in<T>(1), vocab, columns};
      const Table<T> places{call.in<T>(3), most_positions, columns};
      parallel_for(count, kTokensPerThread, [&](int64_t n) {
        T* x = call.out<T>(0) + n * columns;
        const T* word = words.row(tokens[n]);
        if (positions == nullptr) return copy_row(word, columns, x);
        add_rows(word, places.row(positions[n]), columns, x);
      });
    };
  });
}

int64_t embedding_grad_cpu_workspace(const OpView& v, const CpuTraits&) {
  return (v.whole("vocab_size") + v.input(0).elements()) * size_of(DType::i32);
}

CpuKernel embedding_grad_cpu(const OpView& v, const CpuTraits&) {
  const int64_t count = v.input(0).elements();
  const int64_t vocab = v.whole("vocab_size");
  const int64_t columns = v.columns(1);
  const Bind bind = v.op().outputs[0].bind;
  return visit_compute(v.input(1).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return visit_compute(v.output(0).dtype, [&](auto gradient_tag) -> CpuKernel {
      using G = typename decltype(gradient_tag)::type;
      return [=](const CpuCall& call) {
        int32_t* ends = static_cast<int32_t*>(call.workspace);
        const Segments segments{ends, ends + vocab};
        sort_tokens(call.in<int32_t>(0), count, vocab, segments);
        sum_segments(segments, call.in<T>(1), vocab, columns, bind, call.out<G>(0));
      };
    });
  });
}

}  // namespace centavo
