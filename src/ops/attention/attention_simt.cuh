// Forward in plain f32 arithmetic, any element type and head size: a block of 16 x 16 threads holds a tile of queries
// and goes over the tiles of keys they see. Thread (x, y) has rows y + 16 i of the tile: of their scores those of keys
// x + 16 j, of their sums columns x + 16 c.
#pragma once

#include "ops/attention/attention_args.cuh"
#include "ops/attention/simt_tiles.cuh"

namespace centavo::flash {

// The running softmax of a thread's rows; peak and sum are the same in the 16 threads of a row.
template <class Shape>
struct SimtRunningRows {
  float o[Shape::kMicro][Shape::kColumns];
  float peak[Shape::kMicro];
  float sum[Shape::kMicro];

  __device__ void reset() {
#pragma unroll
    for (int i = 0; i < Shape::kMicro; ++i) {
      peak[i] = kLowestPeak;
      sum[i] = 0;
#pragma unroll
      for (int c = 0; c < Shape::kColumns; ++c) o[i][c] = 0;
    }
  }

  // s becomes exp(scale (s - peak)) for the new peak; sums under the old peak shrink.
  __device__ void advance(float scale_log2, float (&s)[Shape::kMicro][Shape::kMicro]) {
#pragma unroll
    for (int i = 0; i < Shape::kMicro; ++i) {
      float largest = s[i][0];
#pragma unroll
      for (int j = 1; j < Shape::kMicro; ++j) largest = fmaxf(largest, s[i][j]);
      largest = fmaxf(peak[i], half_warp_max(largest));
      const float shrink = exp2f((peak[i] - largest) * scale_log2);
      peak[i] = largest;
      float added = 0;
#pragma unroll
      for (int j = 0; j < Shape::kMicro; ++j) {
        s[i][j] = exp2f((s[i][j] - largest) * scale_log2);
        added += s[i][j];
      }
      sum[i] = sum[i] * shrink + half_warp_sum(added);
#pragma unroll
      for (int c = 0; c < Shape::kColumns; ++c) o[i][c] *= shrink;
    }
  }
};

template <class Shape, class T>
__device__ inline void hide_unseen_simt(const SegmentRows& rows, const KeyRows<T>& keys, int32_t first,
                                        int32_t key_begin, float (&s)[Shape::kMicro][Shape::kMicro]) {
  const SimtThread thread;
#pragma unroll
  for (int i = 0; i < Shape::kMicro; ++i) {
    const KeyRange seen = keys_seen_by(rows, keys, first + thread.y + 16 * i);
#pragma unroll
    for (int j = 0; j < Shape::kMicro; ++j) {
      const int32_t key = key_begin + thread.x + 16 * j;
      if (key < seen.begin || key >= seen.end) s[i][j] = kUnseenScore;
    }
  }
}

template <class Shape, class T>
__device__ inline void write_rows_simt(const ForwardArgs<T>& args, const SegmentRows& rows, int32_t first,
                                       const SimtRunningRows<Shape>& running) {
  const SimtThread thread;
#pragma unroll
  for (int i = 0; i < Shape::kMicro; ++i) {
    const int32_t r = first + thread.y + 16 * i;
    if (r >= rows.count()) continue;
    const bool is_blind = running.sum[i] == 0;  // a window past the end of the cache
    const float inverse = is_blind ? 0 : 1 / running.sum[i];
    if (thread.x == 0) {
      args.lse[rows.lse_at(r)] = is_blind ? 0 : running.peak[i] * args.heads.scale + logf(running.sum[i]);
    }
    put_row_simt<Shape>(running.o[i], inverse, args.heads.head_size, args.y + rows.output_at(r));
  }
}

template <class T, class Shape>
__global__ void __launch_bounds__(kSimtThreads) attention_simt(ForwardArgs<T> args) {
  extern __shared__ uint4 memory[];
  float* q = reinterpret_cast<float*>(memory);
  float* k = q + Shape::kOperand;
  float* v = k + Shape::kOperand;
  float* p = v + Shape::kOperand;

  const TableTile tile = args.tiles[blockIdx.x / args.heads.kv_heads];
  if (tile.length == 0) return;
  const SegmentRows rows{args.heads, tile.begin, tile.length, static_cast<int32_t>(blockIdx.x % args.heads.kv_heads)};
  const int32_t end = min(tile.first + Shape::kTile, rows.count());
  if (tile.document < 0) {
    zero_outputs(args, rows, tile.first, end);
    return;
  }
  const KeyRows<T> keys = args.keys(tile, rows);
  const KeyRange all = keys_seen(rows, keys, tile.first, end - 1);
  const int32_t head_size = args.heads.head_size;
  load_rows_simt<Shape>(
      end - tile.first, head_size, [&](int32_t r) { return args.qkv + rows.query_at(tile.first + r); }, q);

  SimtRunningRows<Shape> running;
  running.reset();
  for (int32_t begin = all.begin; begin < all.end; begin += Shape::kTile) {
    __syncthreads();
    const int32_t count = all.end - begin;
    load_rows_simt<Shape>(
        count, head_size, [&](int32_t j) { return keys.k + (begin + j) * keys.stride; }, k);
    load_rows_simt<Shape>(
        count, head_size, [&](int32_t j) { return keys.v + (begin + j) * keys.stride; }, v);
    __syncthreads();
    float s[Shape::kMicro][Shape::kMicro];
    scores_simt<Shape>(q, k, s);
    hide_unseen_simt<Shape>(rows, keys, tile.first, begin, s);
    running.advance(args.heads.scale * kLog2e, s);
    add_product_simt<Shape>(s, v, p, running.o);
  }
  write_rows_simt<Shape>(args, rows, tile.first, running);
}

}  // namespace centavo::flash
