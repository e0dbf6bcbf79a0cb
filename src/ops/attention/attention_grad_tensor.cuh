// Backward on tensor cores, without sums that several blocks add to: scores and their gradients are computed twice,
// once by a block that holds a tile of keys and goes over the queries that see them (dk, dv), once by a block that
// holds a tile of queries and goes over the keys they see (dq). Either way a warp has 16 rows of the tile it holds to
// itself, and weights never leave its registers.
#pragma once

#include <type_traits>

#include "ops/attention/attention_args.cuh"
#include "ops/attention/tensor_tiles.cuh"

namespace centavo::flash {

// Tiles of the backward: 64 rows, 16 a warp.
template <int kD>
struct BackwardShape {
  static constexpr int kRows = 64;
  static constexpr int kThreads = 128;
  static constexpr int kBlocks = kD <= 128 ? 2 : 1;
  static constexpr int kTile = kRows * kTileStride<kD>;                 // elements
  static constexpr int kQueryTilesBytes = 6 * kTile * 2;                // q, dy, and twice k, v
  static constexpr int kKeyTilesBytes = 6 * kTile * 2 + 4 * kRows * 4;  // k, v, and twice q, dy and their statistics
};

// x, or 0 where roundoff made it larger. Keeps NaN.
__device__ inline float not_above_zero(float x) { return x > 0 ? 0.0f : x; }

// Weights and gradients of scores, in place, from scores and dp.
struct ScoreGradient {
  float scale_log2;

  __device__ void apply(float lse_log2, float delta, bool is_seen, float& s, float& dp) const {
    s = is_seen ? exp2_flushed(not_above_zero(s * scale_log2 - lse_log2)) : 0.0f;
    dp = is_seen ? s * (dp - delta) : 0.0f;
  }
};

// What a block that holds keys computes in one sweep: both sums, or one where registers hold no more.
enum class KeySums : uint8_t { dk_and_dv, dk, dv };

template <int kD>
struct Accumulators {
  float at[1][kD / 8][4];

  __device__ void reset() {
#pragma unroll
    for (int d = 0; d < kD / 8; ++d) {
#pragma unroll
      for (int c = 0; c < 4; ++c) at[0][d][c] = 0;
    }
  }
};

// What a tile of queries brings to a tile of keys.
template <int kD>
struct QueryStage {
  __nv_bfloat16* q;
  __nv_bfloat16* dy;
  float* lse_log2;
  float* delta;

  __device__ QueryStage(__nv_bfloat16* tiles, float* statistics, int stage) {
    constexpr int kTile = BackwardShape<kD>::kTile;
    constexpr int kRows = BackwardShape<kD>::kRows;
    q = tiles + 2 * stage * kTile;
    dy = q + kTile;
    lse_log2 = statistics + 2 * stage * kRows;
    delta = lse_log2 + kRows;
  }

  // Rows from `first` on.
  __device__ void start_copies(const BackwardArgs<__nv_bfloat16>& args, const SegmentRows& rows, int32_t first) const {
    using Shape = BackwardShape<kD>;
    const int32_t count = rows.count() - first;
    copy_rows<kD, Shape::kRows, Shape::kThreads>(
        count, args.heads.head_size, [&](int32_t r) { return args.qkv + rows.query_at(first + r); }, q);
    copy_rows<kD, Shape::kRows, Shape::kThreads>(
        count, args.heads.head_size, [&](int32_t r) { return args.dy + rows.output_at(first + r); }, dy);
    const int32_t r = static_cast<int32_t>(threadIdx.x) % Shape::kRows;
    const bool is_delta = threadIdx.x >= Shape::kRows;
    const float* from = (is_delta ? args.delta : args.lse_log2) + rows.statistics_at();
    copy_async_4((is_delta ? delta : lse_log2) + r, from + (r < count ? first + r : 0), r >= count);
  }
};

// s and dp [keys, rows], the warp's keys from `key` on, rows from `first` on: weights and gradients of scores.
template <int kD>
__device__ inline void key_score_gradients(const SegmentRows& rows, const KeyRows<__nv_bfloat16>& keys, int32_t key,
                                           int32_t first, const QueryStage<kD>& stage, float (&s)[1][8][4],
                                           float (&dp)[1][8][4]) {
  const int lane = threadIdx.x % 32;
  const ScoreGradient gradient{rows.heads.scale * kLog2e};
  const int32_t last = min(first + BackwardShape<kD>::kRows, rows.count()) - 1;
  const bool all = sees_all(rows, keys, first, last, key, 16) && first + BackwardShape<kD>::kRows <= rows.count();
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int r = 8 * j + lane % 4 * 2 + c;
      const float lse_log2 = stage.lse_log2[r];
      const float delta = stage.delta[r];
      KeyRange seen{0, keys.count};
      if (!all) seen = first + r <= last ? keys_seen_by(rows, keys, first + r) : KeyRange{0, 0};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int32_t own = key + 8 * half + lane / 4;
        gradient.apply(lse_log2, delta, all || (own >= seen.begin && own < seen.end), s[0][j][2 * half + c],
                       dp[0][j][2 * half + c]);
      }
    }
  }
}

template <int kD, KeySums kSums>
__global__ void __launch_bounds__(BackwardShape<kD>::kThreads, BackwardShape<kD>::kBlocks)
    attention_grad_keys(BackwardArgs<__nv_bfloat16> args) {
  using Shape = BackwardShape<kD>;
  constexpr bool kDk = kSums != KeySums::dv;
  constexpr bool kDv = kSums != KeySums::dk;
  extern __shared__ uint4 memory[];
  auto* k = reinterpret_cast<__nv_bfloat16*>(memory);
  auto* v = k + Shape::kTile;
  auto* stages = v + Shape::kTile;
  auto* statistics = reinterpret_cast<float*>(stages + 4 * Shape::kTile);

  const TableTile tile = args.tiles[blockIdx.x / args.heads.kv_heads];
  if (tile.length == 0) return;
  const SegmentRows rows{args.heads, tile.begin, tile.length, static_cast<int32_t>(blockIdx.x % args.heads.kv_heads)};
  const int32_t key_end = min(tile.first + Shape::kRows, tile.length);
  if (tile.document < 0) {
    zero_key_gradients(args, rows, tile.first, key_end);
    return;
  }
  const KeyRows<__nv_bfloat16> keys = keys_in_qkv(args.qkv, rows);
  copy_rows<kD, Shape::kRows, Shape::kThreads>(
      key_end - tile.first, args.heads.head_size, [&](int32_t j) { return keys.k + (tile.first + j) * keys.stride; },
      k);
  copy_rows<kD, Shape::kRows, Shape::kThreads>(
      key_end - tile.first, args.heads.head_size, [&](int32_t j) { return keys.v + (tile.first + j) * keys.stride; },
      v);

  const int32_t group = static_cast<int32_t>(args.heads.group.divisor);
  const int32_t row_end = (rows.heads.last_token(key_end - 1, tile.length) + 1) * group;
  const int row = static_cast<int>(threadIdx.x) / 32 * 16;
  const int32_t key = tile.first + row;
  Accumulators<kD> dk, dv;
  if (kDk) dk.reset();
  if (kDv) dv.reset();
  int stage = 0;
  QueryStage<kD>(stages, statistics, 0).start_copies(args, rows, tile.first * group);
  for (int32_t first = tile.first * group; first < row_end; first += Shape::kRows, stage ^= 1) {
    wait_for_copies();
    __syncthreads();
    if (first + Shape::kRows < row_end) {
      QueryStage<kD>(stages, statistics, stage ^ 1).start_copies(args, rows, first + Shape::kRows);
    }
    const QueryStage<kD> queries(stages, statistics, stage);
    float s[1][8][4];
    float dp[1][8][4] = {};
    scores<kD>(k, row, queries.q, s);
    if constexpr (kDk) scores<kD>(v, row, queries.dy, dp);
    key_score_gradients<kD>(rows, keys, key, first, queries, s, dp);
    if constexpr (kDv) add_product<kD>(s, queries.dy, dv.at);
    if constexpr (kDk) add_product<kD>(dp, queries.q, dk.at);
  }
  // The block's own tiles are free: each warp has read its own rows of them only.
  const auto write = [&](const Accumulators<kD>& sums, float factor, int64_t column, __nv_bfloat16* own) {
    put_rows<kD>(sums.at[0], {factor, factor}, row, own);
    store_rows<kD, 16>(own, row, key_end - key, args.heads.head_size,
                       [&](int32_t j) { return args.dqkv + (tile.begin + key + j) * args.heads.qkv_row() + column; });
  };
  if constexpr (kDk) write(dk, args.heads.scale, args.heads.key_column(rows.kv), k);
  if constexpr (kDv) write(dv, 1.0f, args.heads.value_column(rows.kv), v);
}

// s and dp [rows, keys], the warp's rows from `first` to `last`, keys from `key_begin` on.
template <int kD>
__device__ inline void query_score_gradients(const SegmentRows& rows, const KeyRows<__nv_bfloat16>& keys, int32_t first,
                                             int32_t last, int32_t key_begin, const float (&lse_log2)[2],
                                             const float (&delta)[2], float (&s)[1][8][4], float (&dp)[1][8][4]) {
  const int lane = threadIdx.x % 32;
  const ScoreGradient gradient{rows.heads.scale * kLog2e};
  const bool all = sees_all(rows, keys, first, last, key_begin, kKeys);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const KeyRange seen = keys_seen_by(rows, keys, first + 8 * half + lane / 4);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int32_t key = key_begin + 8 * j + lane % 4 * 2 + c;
        gradient.apply(lse_log2[half], delta[half], all || (key >= seen.begin && key < seen.end), s[0][j][2 * half + c],
                       dp[0][j][2 * half + c]);
      }
    }
  }
}

template <int kD>
__global__ void __launch_bounds__(BackwardShape<kD>::kThreads, BackwardShape<kD>::kBlocks)
    attention_grad_queries(BackwardArgs<__nv_bfloat16> args) {
  using Shape = BackwardShape<kD>;
  extern __shared__ uint4 memory[];
  auto* q = reinterpret_cast<__nv_bfloat16*>(memory);
  auto* dy = q + Shape::kTile;
  auto* stages = dy + Shape::kTile;  // K, V, K, V

  const TableTile tile = args.tiles[blockIdx.x / args.heads.kv_heads];
  if (tile.length == 0) return;
  const SegmentRows rows{args.heads, tile.begin, tile.length, static_cast<int32_t>(blockIdx.x % args.heads.kv_heads)};
  const int32_t end = min(tile.first + Shape::kRows, rows.count());
  if (tile.document < 0) {
    zero_query_gradients(args, rows, tile.first, end);
    return;
  }
  const int32_t head_size = args.heads.head_size;
  const KeyRows<__nv_bfloat16> keys = keys_in_qkv(args.qkv, rows);
  const KeyRange all = keys_seen(rows, keys, tile.first, end - 1);
  const auto start_copies = [&](int32_t begin, int stage) {
    __nv_bfloat16* k = stages + 2 * stage * Shape::kTile;
    copy_rows<kD, kKeys, Shape::kThreads>(
        all.end - begin, head_size, [&](int32_t j) { return keys.k + (begin + j) * keys.stride; }, k);
    copy_rows<kD, kKeys, Shape::kThreads>(
        all.end - begin, head_size, [&](int32_t j) { return keys.v + (begin + j) * keys.stride; }, k + Shape::kTile);
  };
  copy_rows<kD, Shape::kRows, Shape::kThreads>(
      end - tile.first, head_size, [&](int32_t r) { return args.qkv + rows.query_at(tile.first + r); }, q);
  copy_rows<kD, Shape::kRows, Shape::kThreads>(
      end - tile.first, head_size, [&](int32_t r) { return args.dy + rows.output_at(tile.first + r); }, dy);
  start_copies(all.begin, 0);

  const int row = static_cast<int>(threadIdx.x) / 32 * 16;
  const int32_t first = tile.first + row;
  const int32_t last = min(first + 16, end) - 1;
  const KeyRange own = first <= last ? keys_seen(rows, keys, first, last) : KeyRange{0, 0};
  float lse_log2[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int32_t r = first + 8 * half + static_cast<int32_t>(threadIdx.x) % 32 / 4;
    lse_log2[half] = r < end ? args.lse_log2[rows.statistics_at() + r] : 0.0f;
    delta[half] = r < end ? args.delta[rows.statistics_at() + r] : 0.0f;
  }
  Accumulators<kD> dq;
  dq.reset();
  int stage = 0;
  for (int32_t begin = all.begin; begin < all.end; begin += kKeys, stage ^= 1) {
    wait_for_copies();
    __syncthreads();
    if (begin + kKeys < all.end) start_copies(begin + kKeys, stage ^ 1);
    if (begin >= own.end || begin + kKeys <= own.begin) continue;
    const __nv_bfloat16* k = stages + 2 * stage * Shape::kTile;
    float s[1][8][4];
    float dp[1][8][4];
    scores<kD>(q, row, k, s);
    scores<kD>(dy, row, k + Shape::kTile, dp);
    query_score_gradients<kD>(rows, keys, first, last, begin, lse_log2, delta, s, dp);
    add_product<kD>(dp, k, dq.at);
  }
  if (first > last) return;
  put_rows<kD>(dq.at[0], {args.heads.scale, args.heads.scale}, row, q);
  store_rows<kD, 16>(q, row, end - first, head_size, [&](int32_t r) { return args.dqkv + rows.query_at(first + r); });
}

}  // namespace centavo::flash
