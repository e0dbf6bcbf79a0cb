#include "base/fast_exp.h"
#include "base/parallel.h"
#include "ops/attention/attention.h"
#include "ops/attention/tiles.h"

namespace centavo {

using namespace flash;

namespace {

enum class Mask : uint8_t { none, some };

constexpr int64_t kTokensPerThread = 16;

// Keys and values of one document and key/value head: key j at k + j * stride.
template <class T>
struct Keys {
  const T* k;
  const T* v;
  int64_t stride;
  int64_t count;
  int64_t position;  // of the document's first query
};

template <class T>
struct Forward {
  using A = Accumulator<T>;
  AttentionSizes sizes;
  int64_t max_len;  // of the cache; 0: no cache
  Documents documents;
  const T* qkv;
  const int32_t* positions;
  T *k_cache, *v_cache, *y;
  A* lse;

  int64_t cache_row() const { return sizes.kv_heads * sizes.head_size; }
  int64_t position(const Document& d) const {
    return max_len == 0 ? 0 : std::clamp<int64_t>(positions[d.index], 0, max_len);
  }
  Keys<T> keys(const Document& d, int64_t kv) const {
    if (max_len == 0) {
      const T* rows = qkv + d.begin * sizes.qkv_row();
      return {rows + sizes.key_column(kv), rows + sizes.value_column(kv), sizes.qkv_row(), d.length, 0};
    }
    const int64_t at = d.index * max_len * cache_row() + kv * sizes.head_size;
    const int64_t first = position(d);
    return {k_cache + at, v_cache + at, cache_row(), std::min(first + d.length, max_len), first};
  }
};

// The running softmax of one row tile; scores are [key, row], so rows are lanes.
template <class A>
struct Tiles {
  alignas(64) A q[kMaxHeadSize * kTile];  // [D, row], scaled
  alignas(64) A k[kTile * kMaxHeadSize];
  alignas(64) A v[kTile * kMaxHeadSize];
  alignas(64) A o[kTile * kMaxHeadSize];  // [row, D]
  alignas(64) A s[kTile * kTile];
  alignas(64) A peak[kTile];
  alignas(64) A sum[kTile];
  alignas(64) A shrink[kTile];
  Rows rows;
};

// One key, one vector of rows.
template <class A>
void hide_unseen(const Rows& rows, int32_t key, int64_t row, A* s) {
#pragma omp simd
  for (int64_t r = 0; r < kVectorLanes<A>; ++r) {
    const bool sees = (key >= rows.first[row + r]) & (key <= rows.last[row + r]);
    s[r] = blend(sees, s[r], kUnseen<A>);
  }
}

// One vector of rows: s becomes exp(s - peak) for the new peak, shrink what scales the sums under the old one.
template <class A>
void advance_softmax(const Meeting& at, int64_t row, Mask mask, Tiles<A>& t) {
  constexpr int64_t lanes = kVectorLanes<A>;
  const int64_t keys = at.keys_before(row + lanes);
  alignas(64) A peak[lanes];
  alignas(64) A sum[lanes];
  std::copy_n(t.peak + row, lanes, peak);
  for (int64_t j = 0; j < keys; ++j) {
    A* s = t.s + j * kTile + row;
    if (mask == Mask::some) hide_unseen(t.rows, static_cast<int32_t>(at.begin + j), row, s);
#pragma omp simd
    for (int64_t r = 0; r < lanes; ++r) peak[r] = s[r] > peak[r] ? s[r] : peak[r];
  }
#pragma omp simd
  for (int64_t r = 0; r < lanes; ++r) {
    t.shrink[row + r] = exp_flushed(t.peak[row + r] - peak[r]);
    sum[r] = t.sum[row + r] * t.shrink[row + r];
  }
  for (int64_t j = 0; j < keys; ++j) {
    A* s = t.s + j * kTile + row;
#pragma omp simd
    for (int64_t r = 0; r < lanes; ++r) {
      s[r] = exp_flushed(s[r] - peak[r]);
      sum[r] += s[r];
    }
  }
  std::copy_n(peak, lanes, t.peak + row);
  std::copy_n(sum, lanes, t.sum + row);
}

template <class A>
void reset(int64_t rows, int64_t columns, Tiles<A>& t) {
  // Above kUnseen, below any score: a row that has seen nothing yet gives unseen keys the weight 0.
  std::fill(t.peak, t.peak + kTile, kUnseen<A> / 2);
  std::fill(t.sum, t.sum + kTile, A(0));
  std::fill(t.o, t.o + round_up(rows, kBlockRows) * columns, A(0));
}

template <class T>
void write_rows(const Forward<T>& f, const RowTile& tile, int64_t columns, const Tiles<Accumulator<T>>& t) {
  using A = Accumulator<T>;
  for (int64_t r = 0; r < tile.rows; ++r) {
    const bool blind = t.sum[r] == A(0);  // a window past the end of the cache
    const A inverse = blind ? A(0) : A(1) / t.sum[r];
    T* y = f.y + t.rows.token[r] * f.sizes.y_row() + t.rows.head[r] * f.sizes.head_size;
    for (int64_t c = 0; c < f.sizes.head_size; ++c) y[c] = convert<T>(t.o[r * columns + c] * inverse);
    f.lse[t.rows.head[r] * f.sizes.tokens + t.rows.token[r]] = blind ? A(0) : t.peak[r] + std::log(t.sum[r]);
  }
}

// What the keys of one tile add to the rows'.
template <class T>
void add_keys(const Forward<T>& f, const Keys<T>& keys, const Meeting& at, Tiles<Accumulator<T>>& t) {
  using A = Accumulator<T>;
  const int64_t size = f.sizes.head_size;
  const int64_t columns = round_up(size, kVectorLanes<A>);
  const int64_t lanes = round_up(at.tile.rows, kVectorLanes<A>);
  const T* k = keys.k + at.begin * keys.stride;
  const T* v = keys.v + at.begin * keys.stride;
  load_rows<T>(
      at.count, size, A(1), [&](int64_t j) { return k + j * keys.stride; }, Strided<A>{t.k, columns});
  load_rows<T>(
      at.count, size, A(1), [&](int64_t j) { return v + j * keys.stride; }, Strided<A>{t.v, columns});
  tile_product<Earlier::dropped, A>(at.count, {t.k, columns}, {t.q, kTile}, {t.s, kTile}, [&](int64_t j) {
    return Part{.columns = {round_down(at.first_row(j), kVectorLanes<A>), lanes}, .k = {0, size}};
  });
  const Mask mask = at.is_full() ? Mask::none : Mask::some;
  for (int64_t r = 0; r < lanes; r += kVectorLanes<A>) advance_softmax(at, r, mask, t);
  tile_product<Earlier::scaled, A>(
      at.tile.rows, {t.s, 1, kTile}, {t.v, columns}, {t.o, columns},
      [&](int64_t r) {
        return Part{.columns = {0, columns}, .k = {0, at.keys_before(r + kBlockRows)}};
      },
      t.shrink);
}

template <class T>
void forward_tile(const Forward<T>& f, const RowTile& tile) {
  using A = Accumulator<T>;
  const int64_t size = f.sizes.head_size;
  const int64_t columns = round_up(size, kVectorLanes<A>);
  const Keys<T> keys = f.keys(tile.document, tile.kv);
  Tiles<A> t;
  reset(tile.rows, columns, t);
  find_rows(tile, f.sizes.window, keys.position, keys.count, t.rows);
  load_transposed<T>(
      tile.rows, size, attention_scale<A>(f.sizes),
      [&](int64_t r) { return f.qkv + t.rows.token[r] * f.sizes.qkv_row() + t.rows.head[r] * size; }, t.q);
  const int64_t end = t.rows.last[tile.rows - 1] + 1;
  for (int64_t begin = t.rows.first[0]; begin < end; begin += kTile) {
    add_keys(f, keys, Meeting{tile, t.rows, keys.position, begin, std::min(kTile, end - begin)}, t);
  }
  write_rows(f, tile, columns, t);
}

template <class T>
void store_in_cache(const Forward<T>& f, const Document& d) {
  const int64_t row = f.cache_row();
  const int64_t first = f.position(d);
  const int64_t count = std::min(d.length, f.max_len - first);
  parallel_for(count, kTokensPerThread, [&](int64_t i) {
    const T* token = f.qkv + (d.begin + i) * f.sizes.qkv_row();
    const int64_t at = (d.index * f.max_len + first + i) * row;
    std::copy_n(token + f.sizes.key_column(0), row, f.k_cache + at);
    std::copy_n(token + f.sizes.value_column(0), row, f.v_cache + at);
  });
}

template <class T>
void zero_padding(const Forward<T>& f) {
  each_padding(f.documents, [&](int64_t begin, int64_t end) {
    std::fill(f.y + begin * f.sizes.y_row(), f.y + end * f.sizes.y_row(), T());
    for (int64_t h = 0; h < f.sizes.heads; ++h) {
      std::fill(f.lse + h * f.sizes.tokens + begin, f.lse + h * f.sizes.tokens + end, Accumulator<T>(0));
    }
  });
}

template <class T>
void forward(const Forward<T>& f) {
  if (f.max_len > 0) {
    f.documents.each([&](const Document& d) {
      store_in_cache(f, d);
      return true;
    });
  }
  zero_padding(f);
  const int64_t group = f.sizes.group();
  const int64_t items = count_tiles(f.documents, group) * f.sizes.kv_heads;
  const int64_t together = omp_get_max_threads();
  parallel_items(items, [&](int64_t i) {
    const int64_t item = items - 1 - i;  // the last tile of a document sees most keys and goes first
    const auto [tile, kv] = item_at(f.documents, group, f.sizes.kv_heads, together, item);
    forward_tile(f, RowTile{tile.document, tile.begin, tile.rows, group, kv});
  });
}

}  // namespace

CpuKernel attention_cpu(const OpView& v, const CpuTraits&) {
  const AttentionSizes sizes = attention_sizes(v, 0, 1);
  const int64_t max_len = v.has_input(2) ? v.in(2)[1] : 0;
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      forward(Forward<T>{.sizes = sizes,
                         .max_len = max_len,
                         .documents = {call.in<int32_t>(1), sizes.documents, sizes.tokens},
                         .qkv = call.in<T>(0),
                         .positions = call.in<int32_t>(4),
                         .k_cache = call.out<T>(2),
                         .v_cache = call.out<T>(3),
                         .y = call.out<T>(0),
                         .lse = call.out<Accumulator<T>>(1)});
    };
  });
}

}  // namespace centavo
