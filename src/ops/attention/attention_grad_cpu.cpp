// One sweep over the scores, computed again, by key tiles: dk and dv of a tile gather on the stack, what its keys add
// to dq goes to memory. A row tile takes these sums in the order of the key tiles: each waits for its turn.
#include <atomic>
#include <thread>

#include "base/fast_exp.h"
#include "base/parallel.h"
#include "ops/attention/attention.h"
#include "ops/attention/tiles.h"

namespace centavo {

using namespace flash;

namespace {

constexpr int64_t kTokensPerThread = 16;

// What a call keeps in its workspace; rows are those of row tiles, (key/value head, token, head of the group).
template <class A>
struct Workspace {
  A* lse;         // [K, N, H / K]
  A* delta;       // [K, N, H / K]
  int32_t* turn;  // [K, N, H / K]    at the first row of a row tile: key tiles that have added to its dq
  A* dq;          // [K, N, H / K, D]    unused where dqkv can hold the sums
};

template <class T>
struct Backward {
  using A = Accumulator<T>;
  AttentionSizes sizes;
  Documents documents;
  const T *dy, *qkv, *y;
  const A* lse;
  T* dqkv;
  Workspace<A> workspace;

  int64_t columns() const { return round_up(sizes.head_size, kVectorLanes<A>); }
  int64_t query_at(const Rows& rows, int64_t r) const {
    return rows.token[r] * sizes.qkv_row() + rows.head[r] * sizes.head_size;
  }
  const T* output_gradient(const Rows& rows, int64_t r) const {
    return dy + rows.token[r] * sizes.y_row() + rows.head[r] * sizes.head_size;
  }
  const T* key(const Document& d, int64_t kv, int64_t j) const {
    return qkv + (d.begin + j) * sizes.qkv_row() + sizes.key_column(kv);
  }
  const T* value(const Document& d, int64_t kv, int64_t j) const {
    return qkv + (d.begin + j) * sizes.qkv_row() + sizes.value_column(kv);
  }
  int64_t workspace_row(const RowTile& tile, int64_t r) const {
    return (tile.kv * sizes.tokens + tile.document.begin) * tile.group + tile.begin + r;
  }
  // Where the sum of a row of dq is kept.
  A* dq_sum(const Meeting& at, int64_t r) const {
    if constexpr (std::is_same_v<T, A>) {
      return dqkv + query_at(at.rows, r);
    } else {
      return workspace.dq + workspace_row(at.tile, r) * sizes.head_size;
    }
  }
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
void prepare_workspace(const Backward<T>& f) {
  const AttentionSizes& s = f.sizes;
  std::fill_n(f.workspace.turn, s.tokens * s.heads, 0);
  parallel_for(s.tokens, kTokensPerThread, [&](int64_t token) {
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t at = (token * s.heads + h) * s.head_size;
      const int64_t row = (h / s.group() * s.tokens + token) * s.group() + h % s.group();
      f.workspace.lse[row] = f.lse[h * s.tokens + token];
      f.workspace.delta[row] = dot(f.dy + at, f.y + at, s.head_size);
    }
  });
}

template <class A>
struct KeyTiles {
  alignas(64) A k_lanes[kMaxHeadSize * kTile];  // [D, key]
  alignas(64) A v_lanes[kMaxHeadSize * kTile];  // [D, key]
  alignas(64) A k[kTile * kMaxHeadSize];
  alignas(64) A dk[kTile * kMaxHeadSize];
  alignas(64) A dv[kTile * kMaxHeadSize];
  alignas(64) A q[kTile * kMaxHeadSize];  // scaled
  alignas(64) A dy[kTile * kMaxHeadSize];
  alignas(64) A dq[kTile * kMaxHeadSize];
  alignas(64) A p[kTile * kTile];  // [row, key]; the scores before
  alignas(64) A ds[kTile * kTile];
  Rows rows;
};

// A score is above lse by roundoff alone. NaN stays.
template <class A>
A not_above_zero(A x) {
  return blend(x > A(0), A(0), x);
}

// p and ds = p (dp - delta) of one row, keys in lanes; p holds the scores before, ds dp. Lanes the row does not see
// held anything.
template <class A>
void score_gradient(Range seen, int64_t lanes, A lse, A delta, A* p, A* ds) {
  const int32_t first = static_cast<int32_t>(seen.begin);
  const int32_t last = static_cast<int32_t>(seen.end);
  for (int32_t v = 0; v < static_cast<int32_t>(lanes); v += kVectorLanes<A>) {
    for (int32_t l = 0; l < static_cast<int32_t>(kVectorLanes<A>); ++l) {
      const bool sees = (v + l >= first) & (v + l < last);
      p[v + l] = blend(sees, exp_flushed(not_above_zero(p[v + l] - lse)), A(0));
      ds[v + l] = blend(sees, p[v + l] * (ds[v + l] - delta), A(0));
    }
  }
}

template <class T>
void score_gradients(const Backward<T>& f, const Meeting& at, KeyTiles<Accumulator<T>>& t) {
  using A = Accumulator<T>;
  const A* lse = f.workspace.lse + f.workspace_row(at.tile, 0);
  const A* delta = f.workspace.delta + f.workspace_row(at.tile, 0);
  for (int64_t r = 0; r < at.tile.rows; ++r) {
    const Range seen{at.rows.first[r] - at.begin, at.rows.last[r] + 1 - at.begin};
    const int64_t keys = at.keys_before(round_down(r, kBlockRows) + kBlockRows);
    score_gradient(seen, round_up(keys, kVectorLanes<A>), lse[r], delta[r], t.p + r * kTile, t.ds + r * kTile);
  }
}

// t.dq joins what earlier key tiles have added; the last one to come writes dq, rounded once.
template <class T>
void add_to_dq(const Backward<T>& f, const Meeting& at, KeyTiles<Accumulator<T>>& t) {
  using A = Accumulator<T>;
  const int64_t size = f.sizes.head_size;
  const int64_t own = at.begin / kTile - at.rows.first[0] / kTile;
  const bool is_last = at.rows.last[at.tile.rows - 1] < at.begin + kTile;
  const A scale = attention_scale<A>(f.sizes);
  std::atomic_ref<int32_t> turn(f.workspace.turn[f.workspace_row(at.tile, 0)]);
  while (turn.load(std::memory_order_acquire) != own) std::this_thread::yield();
  for (int64_t r = 0; r < at.tile.rows; ++r) {
    A* sum = f.dq_sum(at, r);
    A* dq = t.dq + r * f.columns();
    if (own > 0) {
      for (int64_t c = 0; c < size; ++c) dq[c] += sum[c];
    }
    if (is_last) {
      T* out = f.dqkv + f.query_at(at.rows, r);
      for (int64_t c = 0; c < size; ++c) out[c] = convert<T>(dq[c] * scale);
    } else {
      std::copy_n(dq, size, sum);
    }
  }
  turn.store(static_cast<int32_t>(own + 1), std::memory_order_release);
}

template <class T>
void load_rows_of(const Backward<T>& f, const RowTile& tile, KeyTiles<Accumulator<T>>& t) {
  using A = Accumulator<T>;
  const int64_t size = f.sizes.head_size;
  find_rows(tile, f.sizes.window, 0, tile.document.length, t.rows);
  load_rows<T>(
      tile.rows, size, attention_scale<A>(f.sizes), [&](int64_t r) { return f.qkv + f.query_at(t.rows, r); },
      Strided<A>{t.q, f.columns()});
  load_rows<T>(
      tile.rows, size, A(1), [&](int64_t r) { return f.output_gradient(t.rows, r); }, Strided<A>{t.dy, f.columns()});
}

// The five products of a row tile and a key tile.
template <class T>
void add_rows(const Backward<T>& f, const Meeting& at, KeyTiles<Accumulator<T>>& t) {
  using A = Accumulator<T>;
  const int64_t columns = f.columns();
  const int64_t rows = at.tile.rows;
  const auto scores = [&](int64_t r) {
    return Part{.columns = {0, at.keys_before(r + kBlockRows)}, .k = {0, f.sizes.head_size}};
  };
  const auto by_keys = [&](int64_t j) { return Part{.columns = {0, columns}, .k = {at.first_row(j), rows}}; };
  const auto by_rows = [&](int64_t r) {
    return Part{.columns = {0, columns}, .k = {0, at.keys_before(r + kBlockRows)}};
  };
  tile_product<Earlier::dropped, A>(rows, {t.q, columns}, {t.k_lanes, kTile}, {t.p, kTile}, scores);
  tile_product<Earlier::dropped, A>(rows, {t.dy, columns}, {t.v_lanes, kTile}, {t.ds, kTile}, scores);
  score_gradients(f, at, t);
  tile_product<Earlier::kept, A>(at.count, {t.p, 1, kTile}, {t.dy, columns}, {t.dv, columns}, by_keys);
  tile_product<Earlier::kept, A>(at.count, {t.ds, 1, kTile}, {t.q, columns}, {t.dk, columns}, by_keys);
  tile_product<Earlier::dropped, A>(rows, {t.ds, kTile}, {t.k, columns}, {t.dq, columns}, by_rows);
  add_to_dq(f, at, t);
}

// dk or dv of a key tile, rounded once.
template <class T, class A>
void store_rows(int64_t rows, int64_t size, const A* tile, int64_t row, T* target, int64_t target_row) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < size; ++c) target[r * target_row + c] = convert<T>(tile[r * row + c]);
  }
}

template <class T>
void key_tile(const Backward<T>& f, const Tile& keys, int64_t kv) {
  using A = Accumulator<T>;
  const int64_t size = f.sizes.head_size;
  const int64_t columns = f.columns();
  const int64_t group = f.sizes.group();
  const Document& d = keys.document;
  const auto key = [&](int64_t j) { return f.key(d, kv, keys.begin + j); };
  KeyTiles<A> t;
  std::fill(t.dk, t.dk + round_up(keys.rows, kBlockRows) * columns, A(0));
  std::fill(t.dv, t.dv + round_up(keys.rows, kBlockRows) * columns, A(0));
  load_rows<T>(keys.rows, size, A(1), key, Strided<A>{t.k, columns});
  load_transposed<T>(keys.rows, size, A(1), key, t.k_lanes);
  load_transposed<T>(
      keys.rows, size, A(1), [&](int64_t j) { return f.value(d, kv, keys.begin + j); }, t.v_lanes);
  const int64_t last_key = keys.begin + keys.rows - 1;
  const int64_t seen_until = f.sizes.window == 0 ? d.length : std::min(d.length, last_key + f.sizes.window);
  for (int64_t begin = keys.begin * group; begin < seen_until * group; begin += kTile) {
    const RowTile rows{d, begin, std::min(kTile, d.length * group - begin), group, kv};
    load_rows_of(f, rows, t);
    add_rows(f, Meeting{rows, t.rows, 0, keys.begin, keys.rows}, t);
  }
  T* out = f.dqkv + (d.begin + keys.begin) * f.sizes.qkv_row();
  store_rows(keys.rows, size, t.dk, columns, out + f.sizes.key_column(kv), f.sizes.qkv_row());
  store_rows(keys.rows, size, t.dv, columns, out + f.sizes.value_column(kv), f.sizes.qkv_row());
}

template <class T>
void backward(const Backward<T>& f) {
  const int64_t kv_heads = f.sizes.kv_heads;
  each_padding(f.documents, [&](int64_t begin, int64_t end) {
    std::fill(f.dqkv + begin * f.sizes.qkv_row(), f.dqkv + end * f.sizes.qkv_row(), T());
  });
  prepare_workspace(f);
  const int64_t together = omp_get_max_threads();
  // In order: whoever waits, waits for an item that was begun before its own.
  parallel_items(count_tiles(f.documents, 1) * kv_heads, [&](int64_t item) {
    const auto [tile, kv] = item_at(f.documents, 1, kv_heads, together, item);
    key_tile(f, tile, kv);
  });
}

// Bytes of the parts of a workspace, in order: of lse and of delta, of the turns, of the sums of dq.
struct WorkspaceBytes {
  int64_t statistic, turn, dq;
  int64_t all() const { return 2 * statistic + turn + dq; }
};

WorkspaceBytes workspace_bytes(const AttentionSizes& s, DType dtype) {
  const DType accumulator = accumulator_of(dtype);
  const int64_t rows = s.tokens * s.heads;
  return {.statistic = rows * size_of(accumulator),
          .turn = round_up(rows * size_of(DType::i32), size_of(accumulator)),
          .dq = accumulator == dtype ? 0 : rows * s.head_size * size_of(accumulator)};
}

template <class A>
Workspace<A> workspace_at(void* memory, const WorkspaceBytes& bytes) {
  char* at = static_cast<char*>(memory);
  char* turn = at + 2 * bytes.statistic;
  return {.lse = reinterpret_cast<A*>(at),
          .delta = reinterpret_cast<A*>(at + bytes.statistic),
          .turn = reinterpret_cast<int32_t*>(turn),
          .dq = reinterpret_cast<A*>(turn + bytes.turn)};
}

}  // namespace

int64_t attention_grad_cpu_workspace(const OpView& v, const CpuTraits&) {
  return workspace_bytes(attention_sizes(v, 1, 4), v.input(1).dtype).all();
}

CpuKernel attention_grad_cpu(const OpView& v, const CpuTraits&) {
  const AttentionSizes sizes = attention_sizes(v, 1, 4);
  const WorkspaceBytes bytes = workspace_bytes(sizes, v.input(1).dtype);
  return visit_compute(v.input(1).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    using A = Accumulator<T>;
    return [=](const CpuCall& call) {
      backward(Backward<T>{.sizes = sizes,
                           .documents = {call.in<int32_t>(4), sizes.documents, sizes.tokens},
                           .dy = call.in<T>(0),
                           .qkv = call.in<T>(1),
                           .y = call.in<T>(2),
                           .lse = call.in<A>(3),
                           .dqkv = call.out<T>(0),
                           .workspace = workspace_at<A>(call.workspace, bytes)});
    };
  });
}

}  // namespace centavo
