// Two sweeps over the scores, each computing them again: one gathers dq by row tiles, one dk and dv by key tiles. No
// sum crosses a work item, so nothing is accumulated in memory and the order of every sum is fixed.
#include "base/fast_exp.h"
#include "base/parallel.h"
#include "ops/attention/attention.h"
#include "ops/attention/tiles.h"

namespace centavo {

using namespace flash;

namespace {

template <class T>
struct Backward {
  using A = Accumulator<T>;
  AttentionSizes sizes;
  Documents documents;
  const T *dy, *qkv, *y;
  const A* lse;
  T* dqkv;

  int64_t columns() const { return round_up(sizes.head_size, kVectorLanes<A>); }
  const T* query(const RowTile& tile, int64_t r) const {
    return qkv + tile.token(r) * sizes.qkv_row() + tile.head(r) * sizes.head_size;
  }
  const T* output_gradient(const RowTile& tile, int64_t r) const {
    return dy + tile.token(r) * sizes.y_row() + tile.head(r) * sizes.head_size;
  }
  const T* key(const Document& d, int64_t kv, int64_t j) const {
    return qkv + (d.begin + j) * sizes.qkv_row() + sizes.key_column(kv);
  }
  const T* value(const Document& d, int64_t kv, int64_t j) const {
    return qkv + (d.begin + j) * sizes.qkv_row() + sizes.value_column(kv);
  }
};

// lse and delta of the rows of a tile; zero for lanes without a row.
template <class A>
struct RowStatistics {
  alignas(64) A lse[kTile] = {};
  alignas(64) A delta[kTile] = {};
};

template <class T>
Accumulator<T> dot(const T* a, const T* b, int64_t n) {
  using A = Accumulator<T>;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += convert<A>(a[i]) * convert<A>(b[i]);
  return sum;
}

template <class T>
void load_statistics(const Backward<T>& f, const RowTile& tile, RowStatistics<Accumulator<T>>& rows) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const int64_t token = tile.token(r);
    const int64_t head = tile.head(r);
    const T* y = f.y + token * f.sizes.y_row() + head * f.sizes.head_size;
    rows.lse[r] = f.lse[head * f.sizes.tokens + token];
    rows.delta[r] = dot(f.output_gradient(tile, r), y, f.sizes.head_size);
  }
}

// Gradients of one row or key tile, rounded once.
template <class T, class A>
void store_rows(int64_t rows, int64_t size, A scale, const A* tile, int64_t row, T* target, int64_t target_row) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < size; ++c) target[r * target_row + c] = convert<T>(tile[r * row + c] * scale);
  }
}

template <class A>
struct QueryTiles {
  alignas(64) A q[kMaxHeadSize * kTile];   // [D, row], scaled
  alignas(64) A dy[kMaxHeadSize * kTile];  // [D, row]
  alignas(64) A dq[kTile * kMaxHeadSize];
  alignas(64) A k[kTile * kMaxHeadSize];
  alignas(64) A v[kTile * kMaxHeadSize];
  alignas(64) A s[kTile * kTile];  // [key, row]
  alignas(64) A ds[kTile * kTile];
  RowStatistics<A> rows;
  Seen seen;
};

// ds = p (dp - delta) for rows in lanes; ds holds dp before.
template <class A>
void score_gradient_by_rows(int64_t begin, int64_t keys, int64_t lanes, QueryTiles<A>& t) {
  for (int64_t j = 0; j < keys; ++j) {
    const int32_t key = static_cast<int32_t>(begin + j);
    const A* s = t.s + j * kTile;
    A* ds = t.ds + j * kTile;
    for (int64_t r = 0; r < lanes; ++r) {
      const bool sees = (key >= t.seen.first[r]) & (key <= t.seen.last[r]);
      const A p = blend(sees, exp_fast(s[r] - t.rows.lse[r]), A(0));
      ds[r] = p * (ds[r] - t.rows.delta[r]);
    }
  }
}

template <class T>
void gather_dq(const Backward<T>& f, const RowTile& tile) {
  using A = Accumulator<T>;
  const int64_t size = f.sizes.head_size;
  const int64_t columns = f.columns();
  const int64_t lanes = round_up(tile.rows, kVectorLanes<A>);
  const A scale = attention_scale<A>(f.sizes);
  QueryTiles<A> t;
  std::fill(t.dq, t.dq + round_up(tile.rows, kBlockRows) * columns, A(0));
  find_seen(tile, f.sizes.window, 0, tile.document.length, t.seen);
  load_statistics(f, tile, t.rows);
  load_transposed<T>(
      tile.rows, size, scale, [&](int64_t r) { return f.query(tile, r); }, t.q);
  load_transposed<T>(
      tile.rows, size, A(1), [&](int64_t r) { return f.output_gradient(tile, r); }, t.dy);
  const int64_t end = t.seen.last[tile.rows - 1] + 1;
  for (int64_t begin = t.seen.first[0]; begin < end; begin += kTile) {
    const int64_t keys = std::min(kTile, end - begin);
    load_rows<T>(
        keys, size, A(1), [&](int64_t j) { return f.key(tile.document, tile.kv, begin + j); },
        Strided<A>{t.k, columns});
    load_rows<T>(
        keys, size, A(1), [&](int64_t j) { return f.value(tile.document, tile.kv, begin + j); },
        Strided<A>{t.v, columns});
    tile_product<Bind::write, A>({keys, lanes, size}, {t.k, columns}, {t.q, kTile}, {t.s, kTile});
    tile_product<Bind::write, A>({keys, lanes, size}, {t.v, columns}, {t.dy, kTile}, {t.ds, kTile});
    score_gradient_by_rows(begin, keys, lanes, t);
    tile_product<Bind::add, A>({tile.rows, columns, keys}, {t.ds, 1, kTile}, {t.k, columns}, {t.dq, columns});
  }
  for (int64_t r = 0; r < tile.rows; ++r) {
    T* dq = f.dqkv + tile.token(r) * f.sizes.qkv_row() + tile.head(r) * size;
    store_rows(1, size, scale, t.dq + r * columns, columns, dq, 0);
  }
}

template <class A>
struct KeyTiles {
  alignas(64) A k[kMaxHeadSize * kTile];  // [D, key]
  alignas(64) A v[kMaxHeadSize * kTile];  // [D, key]
  alignas(64) A dk[kTile * kMaxHeadSize];
  alignas(64) A dv[kTile * kMaxHeadSize];
  alignas(64) A q[kTile * kMaxHeadSize];  // scaled
  alignas(64) A dy[kTile * kMaxHeadSize];
  alignas(64) A p[kTile * kTile];  // [row, key]; the scores before
  alignas(64) A ds[kTile * kTile];
  RowStatistics<A> rows;
  Seen seen;
};

// p and ds = p (dp - delta) for keys in lanes; p holds the scores before, ds dp.
template <class A>
void score_gradient_by_keys(int64_t begin, int64_t rows, int64_t lanes, KeyTiles<A>& t) {
  const int32_t first_key = static_cast<int32_t>(begin);
  for (int64_t r = 0; r < rows; ++r) {
    A* p = t.p + r * kTile;
    A* ds = t.ds + r * kTile;
    const int32_t first = t.seen.first[r] - first_key;
    const int32_t last = t.seen.last[r] - first_key;
    const A lse = t.rows.lse[r];
    const A delta = t.rows.delta[r];
    for (int32_t j = 0; j < static_cast<int32_t>(lanes); ++j) {
      const bool sees = (j >= first) & (j <= last);
      p[j] = blend(sees, exp_fast(p[j] - lse), A(0));
      ds[j] = p[j] * (ds[j] - delta);
    }
  }
}

// What the rows of one tile add to dk and dv of the key tile.
template <class T>
void add_rows(const Backward<T>& f, const Tile& keys, const RowTile& tile, KeyTiles<Accumulator<T>>& t) {
  using A = Accumulator<T>;
  const int64_t size = f.sizes.head_size;
  const int64_t columns = f.columns();
  const int64_t lanes = round_up(keys.rows, kVectorLanes<A>);
  find_seen(tile, f.sizes.window, 0, tile.document.length, t.seen);
  load_statistics(f, tile, t.rows);
  load_rows<T>(
      tile.rows, size, attention_scale<A>(f.sizes), [&](int64_t r) { return f.query(tile, r); },
      Strided<A>{t.q, columns});
  load_rows<T>(
      tile.rows, size, A(1), [&](int64_t r) { return f.output_gradient(tile, r); }, Strided<A>{t.dy, columns});
  tile_product<Bind::write, A>({tile.rows, lanes, size}, {t.q, columns}, {t.k, kTile}, {t.p, kTile});
  tile_product<Bind::write, A>({tile.rows, lanes, size}, {t.dy, columns}, {t.v, kTile}, {t.ds, kTile});
  score_gradient_by_keys(keys.begin, tile.rows, lanes, t);
  tile_product<Bind::add, A>({keys.rows, columns, tile.rows}, {t.p, 1, kTile}, {t.dy, columns}, {t.dv, columns});
  tile_product<Bind::add, A>({keys.rows, columns, tile.rows}, {t.ds, 1, kTile}, {t.q, columns}, {t.dk, columns});
}

template <class T>
void gather_dk_dv(const Backward<T>& f, const Tile& keys, int64_t kv) {
  using A = Accumulator<T>;
  const int64_t size = f.sizes.head_size;
  const int64_t columns = f.columns();
  const int64_t group = f.sizes.group();
  const Document& d = keys.document;
  KeyTiles<A> t;
  std::fill(t.dk, t.dk + round_up(keys.rows, kBlockRows) * columns, A(0));
  std::fill(t.dv, t.dv + round_up(keys.rows, kBlockRows) * columns, A(0));
  load_transposed<T>(
      keys.rows, size, A(1), [&](int64_t j) { return f.key(d, kv, keys.begin + j); }, t.k);
  load_transposed<T>(
      keys.rows, size, A(1), [&](int64_t j) { return f.value(d, kv, keys.begin + j); }, t.v);
  const int64_t last_key = keys.begin + keys.rows - 1;
  const int64_t seen_until = f.sizes.window == 0 ? d.length : std::min(d.length, last_key + f.sizes.window);
  const int64_t end = seen_until * group;
  for (int64_t begin = keys.begin * group; begin < end; begin += kTile) {
    add_rows(f, keys, RowTile{d, begin, std::min(kTile, end - begin), group, kv}, t);
  }
  T* rows = f.dqkv + (d.begin + keys.begin) * f.sizes.qkv_row();
  store_rows(keys.rows, size, A(1), t.dk, columns, rows + f.sizes.key_column(kv), f.sizes.qkv_row());
  store_rows(keys.rows, size, A(1), t.dv, columns, rows + f.sizes.value_column(kv), f.sizes.qkv_row());
}

template <class T>
void backward(const Backward<T>& f) {
  const int64_t group = f.sizes.group();
  const int64_t kv_heads = f.sizes.kv_heads;
  each_padding(f.documents, [&](int64_t begin, int64_t end) {
    std::fill(f.dqkv + begin * f.sizes.qkv_row(), f.dqkv + end * f.sizes.qkv_row(), T());
  });
  const int64_t items = count_tiles(f.documents, group) * kv_heads;
  parallel_items(items, [&](int64_t i) {
    const int64_t item = items - 1 - i;  // the last tile of a document sees most keys and goes first
    const Tile tile = tile_at(f.documents, group, item / kv_heads);
    gather_dq(f, RowTile{tile.document, tile.begin, tile.rows, group, item % kv_heads});
  });
  parallel_items(count_tiles(f.documents, 1) * kv_heads,
                 [&](int64_t item) { gather_dk_dv(f, tile_at(f.documents, 1, item / kv_heads), item % kv_heads); });
}

}  // namespace

CpuKernel attention_grad_cpu(const OpView& v, const CpuTraits&) {
  const AttentionSizes sizes = attention_sizes(v, 1, 4);
  return visit_compute(v.input(1).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      backward(Backward<T>{.sizes = sizes,
                           .documents = {call.in<int32_t>(4), sizes.documents, sizes.tokens},
                           .dy = call.in<T>(0),
                           .qkv = call.in<T>(1),
                           .y = call.in<T>(2),
                           .lse = call.in<Accumulator<T>>(3),
                           .dqkv = call.out<T>(0)});
    };
  });
}

}  // namespace centavo
