// Backward in plain f32 arithmetic, cut like attention_grad_tensor.cuh; threads and tiles as in attention_simt.cuh.
#pragma once

#include "ops/attention/attention_args.cuh"
#include "ops/attention/simt_tiles.cuh"

namespace centavo::flash {

// The weight of a score and, in place of dp, the score's gradient.
__device__ inline void score_gradient_simt(float scale_log2, float lse_log2, float delta, bool is_seen, float& s,
                                           float& dp) {
  const float x = s * scale_log2 - lse_log2;
  s = is_seen ? exp2f(x > 0 ? 0.0f : x) : 0.0f;  // above 0 by roundoff alone; keeps NaN
  dp = is_seen ? s * (dp - delta) : 0.0f;
}

template <class Shape>
struct SimtAccumulators {
  float at[Shape::kMicro][Shape::kColumns];

  __device__ void reset() {
#pragma unroll
    for (int i = 0; i < Shape::kMicro; ++i) {
#pragma unroll
      for (int c = 0; c < Shape::kColumns; ++c) at[i][c] = 0;
    }
  }
};

// s and dp [own keys, rows]: the thread's keys from `key` on, its rows from `first` on.
template <class Shape, class T>
__device__ inline void key_score_gradients_simt(const BackwardArgs<T>& args, const SegmentRows& rows,
                                                const KeyRows<T>& keys, int32_t key, int32_t first,
                                                float (&s)[Shape::kMicro][Shape::kMicro],
                                                float (&dp)[Shape::kMicro][Shape::kMicro]) {
  const SimtThread thread;
  const float scale_log2 = args.heads.scale * kLog2e;
#pragma unroll
  for (int j = 0; j < Shape::kMicro; ++j) {
    const int32_t r = first + thread.x + 16 * j;
    const bool is_row = r < rows.count();
    const float lse_log2 = is_row ? args.lse_log2[rows.statistics_at() + r] : 0.0f;
    const float delta = is_row ? args.delta[rows.statistics_at() + r] : 0.0f;
    const KeyRange seen = is_row ? keys_seen_by(rows, keys, r) : KeyRange{0, 0};
#pragma unroll
    for (int i = 0; i < Shape::kMicro; ++i) {
      const int32_t own = key + thread.y + 16 * i;
      score_gradient_simt(scale_log2, lse_log2, delta, own >= seen.begin && own < seen.end, s[i][j], dp[i][j]);
    }
  }
}

template <class T, class Shape>
__global__ void __launch_bounds__(kSimtThreads) attention_grad_keys_simt(BackwardArgs<T> args) {
  extern __shared__ uint4 memory[];
  float* k = reinterpret_cast<float*>(memory);
  float* v = k + Shape::kOperand;
  float* q = v + Shape::kOperand;
  float* dy = q + Shape::kOperand;
  float* weights = dy + Shape::kOperand;

  const TableTile tile = args.tiles[blockIdx.x / args.heads.kv_heads];
  if (tile.length == 0) return;
  const SegmentRows rows{args.heads, tile.begin, tile.length, static_cast<int32_t>(blockIdx.x % args.heads.kv_heads)};
  const int32_t key_end = min(tile.first + Shape::kTile, tile.length);
  if (tile.document < 0) {
    zero_key_gradients(args, rows, tile.first, key_end);
    return;
  }
  const int32_t head_size = args.heads.head_size;
  const KeyRows<T> keys = keys_in_qkv(args.qkv, rows);
  const int32_t count = key_end - tile.first;
  load_rows_simt<Shape>(
      count, head_size, [&](int32_t j) { return keys.k + (tile.first + j) * keys.stride; }, k);
  load_rows_simt<Shape>(
      count, head_size, [&](int32_t j) { return keys.v + (tile.first + j) * keys.stride; }, v);

  const int32_t group = static_cast<int32_t>(args.heads.group.divisor);
  const int32_t row_end = (args.heads.last_token(key_end - 1, tile.length) + 1) * group;
  SimtAccumulators<Shape> dk, dv;
  dk.reset();
  dv.reset();
  for (int32_t first = tile.first * group; first < row_end; first += Shape::kTile) {
    __syncthreads();
    const int32_t there = rows.count() - first;
    load_rows_simt<Shape>(
        there, head_size, [&](int32_t r) { return args.qkv + rows.query_at(first + r); }, q);
    load_rows_simt<Shape>(
        there, head_size, [&](int32_t r) { return args.dy + rows.output_at(first + r); }, dy);
    __syncthreads();
    float s[Shape::kMicro][Shape::kMicro];
    float dp[Shape::kMicro][Shape::kMicro];
    scores_simt<Shape>(k, q, s);
    scores_simt<Shape>(v, dy, dp);
    key_score_gradients_simt<Shape>(args, rows, keys, tile.first, first, s, dp);
    add_product_simt<Shape>(s, dy, weights, dv.at);
    add_product_simt<Shape>(dp, q, weights, dk.at);
  }
  const SimtThread thread;
#pragma unroll
  for (int i = 0; i < Shape::kMicro; ++i) {
    const int32_t key = tile.first + thread.y + 16 * i;
    if (key >= key_end) continue;
    T* row = args.dqkv + (tile.begin + key) * args.heads.qkv_row();
    put_row_simt<Shape>(dk.at[i], args.heads.scale, head_size, row + args.heads.key_column(rows.kv));
    put_row_simt<Shape>(dv.at[i], 1.0f, head_size, row + args.heads.value_column(rows.kv));
  }
}

// s and dp [own rows, keys]: the thread's rows from `first` on, its keys from `key_begin` on.
template <class Shape, class T>
__device__ inline void query_score_gradients_simt(const BackwardArgs<T>& args, const SegmentRows& rows,
                                                  const KeyRows<T>& keys, int32_t first, int32_t key_begin,
                                                  float (&s)[Shape::kMicro][Shape::kMicro],
                                                  float (&dp)[Shape::kMicro][Shape::kMicro]) {
  const SimtThread thread;
  const float scale_log2 = args.heads.scale * kLog2e;
#pragma unroll
  for (int i = 0; i < Shape::kMicro; ++i) {
    const int32_t r = first + thread.y + 16 * i;
    const bool is_row = r < rows.count();
    const float lse_log2 = is_row ? args.lse_log2[rows.statistics_at() + r] : 0.0f;
    const float delta = is_row ? args.delta[rows.statistics_at() + r] : 0.0f;
    const KeyRange seen = is_row ? keys_seen_by(rows, keys, r) : KeyRange{0, 0};
#pragma unroll
    for (int j = 0; j < Shape::kMicro; ++j) {
      const int32_t key = key_begin + thread.x + 16 * j;
      score_gradient_simt(scale_log2, lse_log2, delta, key >= seen.begin && key < seen.end, s[i][j], dp[i][j]);
    }
  }
}

template <class T, class Shape>
__global__ void __launch_bounds__(kSimtThreads) attention_grad_queries_simt(BackwardArgs<T> args) {
  extern __shared__ uint4 memory[];
  float* q = reinterpret_cast<float*>(memory);
  float* dy = q + Shape::kOperand;
  float* k = dy + Shape::kOperand;
  float* v = k + Shape::kOperand;
  float* weights = v + Shape::kOperand;

  const TableTile tile = args.tiles[blockIdx.x / args.heads.kv_heads];
  if (tile.length == 0) return;
  const SegmentRows rows{args.heads, tile.begin, tile.length, static_cast<int32_t>(blockIdx.x % args.heads.kv_heads)};
  const int32_t end = min(tile.first + Shape::kTile, rows.count());
  if (tile.document < 0) {
    zero_query_gradients(args, rows, tile.first, end);
    return;
  }
  const int32_t head_size = args.heads.head_size;
  const KeyRows<T> keys = keys_in_qkv(args.qkv, rows);
  const KeyRange all = keys_seen(rows, keys, tile.first, end - 1);
  const int32_t there = end - tile.first;
  load_rows_simt<Shape>(
      there, head_size, [&](int32_t r) { return args.qkv + rows.query_at(tile.first + r); }, q);
  load_rows_simt<Shape>(
      there, head_size, [&](int32_t r) { return args.dy + rows.output_at(tile.first + r); }, dy);

  SimtAccumulators<Shape> dq;
  dq.reset();
  for (int32_t begin = all.begin; begin < all.end; begin += Shape::kTile) {
    __syncthreads();
    const int32_t count = all.end - begin;
    load_rows_simt<Shape>(
        count, head_size, [&](int32_t j) { return keys.k + (begin + j) * keys.stride; }, k);
    load_rows_simt<Shape>(
        count, head_size, [&](int32_t j) { return keys.v + (begin + j) * keys.stride; }, v);
    __syncthreads();
    float s[Shape::kMicro][Shape::kMicro];
    float dp[Shape::kMicro][Shape::kMicro];
    scores_simt<Shape>(q, k, s);
    scores_simt<Shape>(dy, v, dp);
    query_score_gradients_simt<Shape>(args, rows, keys, tile.first, begin, s, dp);
    add_product_simt<Shape>(dp, k, weights, dq.at);
  }
  const SimtThread thread;
#pragma unroll
  for (int i = 0; i < Shape::kMicro; ++i) {
    const int32_t r = tile.first + thread.y + 16 * i;
    if (r < end) put_row_simt<Shape>(dq.at[i], args.heads.scale, head_size, args.dqkv + rows.query_at(r));
  }
}

}  // namespace centavo::flash
