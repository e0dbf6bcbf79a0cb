// Forward on tensor cores: a block holds a tile of queries and goes over the tiles of keys they see.
//
// Each warp has 16 kRowTiles rows of the tile to itself: scores, weights and sums of its rows stay in its registers.
// While a tile of keys and values is worked on, the next one is on its way.
#pragma once

#include "ops/attention/attention_args.cuh"
#include "ops/attention/tensor_tiles.cuh"

namespace centavo::flash {

// Two blocks share a multiprocessor where registers and shared memory allow it.
template <int kD>
struct ForwardShape {
  static constexpr int kWarps = kD <= 128 ? 4 : 8;
  static constexpr int kRowTiles = kD <= 128 ? 2 : 1;
  static constexpr int kBlocks = kD <= 128 ? 2 : 1;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = 16 * kRowTiles * kWarps;
  static constexpr int kQ = kRows * kTileStride<kD>;  // elements
  static constexpr int kTile = kKeys * kTileStride<kD>;
  static constexpr int kSharedBytes = (kQ + 4 * kTile) * 2;
};

// The running softmax of a warp's rows; half 0 and 1 of a row tile are its rows lane / 4 and lane / 4 + 8.
template <int kD, int kRowTiles>
struct RunningRows {
  float o[kRowTiles][kD / 8][4];
  float peak[kRowTiles][2];
  float sum[kRowTiles][2];  // of the lane's columns

  __device__ void reset() {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        peak[i][half] = kLowestPeak;
        sum[i][half] = 0;
      }
#pragma unroll
      for (int d = 0; d < kD / 8; ++d) {
#pragma unroll
        for (int c = 0; c < 4; ++c) o[i][d][c] = 0;
      }
    }
  }

  // s becomes exp(scale (s - peak)) for the new peak; sums under the old peak shrink.
  __device__ void advance(float scale_log2, float (&s)[kRowTiles][kKeys / 8][4]) {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) advance_half(scale_log2, i, half, s[i]);
    }
  }

 private:
  __device__ void advance_half(float scale_log2, int i, int half, float (&s)[kKeys / 8][4]) {
    float largest = peak[i][half];
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) largest = fmaxf(largest, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
    largest = row_max(largest);
    const float shrink = exp2_flushed((peak[i][half] - largest) * scale_log2);
    peak[i][half] = largest;
    float added = 0;
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int c = 2 * half; c < 2 * half + 2; ++c) {
        s[j][c] = exp2_flushed((s[j][c] - largest) * scale_log2);
        added += s[j][c];
      }
    }
    sum[i][half] = sum[i][half] * shrink + added;
#pragma unroll
    for (int d = 0; d < kD / 8; ++d) {
      o[i][d][2 * half] *= shrink;
      o[i][d][2 * half + 1] *= shrink;
    }
  }
};

// Marks the scores that the warp's rows, from `first` on, do not see; columns are keys from key_begin on.
template <int kRowTiles, class Keys>
__device__ inline void hide_unseen(const SegmentRows& rows, const Keys& keys, int32_t first, int32_t key_begin,
                                   float (&s)[kRowTiles][kKeys / 8][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const KeyRange seen = keys_seen_by(rows, keys, first + 16 * i + 8 * half + lane / 4);
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int32_t key = key_begin + 8 * j + lane % 4 * 2 + c;
          if (key < seen.begin || key >= seen.end) s[i][j][2 * half + c] = kUnseenScore;
        }
      }
    }
  }
}

// y and lse of the warp's rows; `tile` is the tile of queries, whose rows the warp has done with.
template <int kD>
__device__ inline void write_rows(const ForwardArgs<__nv_bfloat16>& args, const SegmentRows& rows, int32_t first,
                                  int row, RunningRows<kD, ForwardShape<kD>::kRowTiles>& running, __nv_bfloat16* tile) {
  using Shape = ForwardShape<kD>;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < Shape::kRowTiles; ++i) {
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = row_sum(running.sum[i][half]);
      const bool is_blind = sum == 0;  // a window past the end of the cache
      inverse[half] = is_blind ? 0 : 1 / sum;
      const int32_t r = first + 16 * i + 8 * half + lane / 4;
      if (lane % 4 == 0 && r < rows.count()) {
        args.lse[rows.lse_at(r)] = is_blind ? 0 : running.peak[i][half] * args.heads.scale + logf(sum);
      }
    }
    put_rows<kD>(running.o[i], inverse, row + 16 * i, tile);
  }
  store_rows<kD, 16 * Shape::kRowTiles>(tile, row, rows.count() - first, args.heads.head_size,
                                        [&](int32_t r) { return args.y + rows.output_at(first + r); });
}

template <int kD>
__global__ void __launch_bounds__(ForwardShape<kD>::kThreads, ForwardShape<kD>::kBlocks)
    attention_tensor(ForwardArgs<__nv_bfloat16> args) {
  using Shape = ForwardShape<kD>;
  extern __shared__ uint4 memory[];
  auto* q = reinterpret_cast<__nv_bfloat16*>(memory);
  auto* stages = q + Shape::kQ;  // K, V, K, V

  const TableTile tile = args.tiles[blockIdx.x / args.heads.kv_heads];
  if (tile.length == 0) return;
  const SegmentRows rows{args.heads, tile.begin, tile.length, static_cast<int32_t>(blockIdx.x % args.heads.kv_heads)};
  const int32_t end = min(tile.first + Shape::kRows, rows.count());
  if (tile.document < 0) {
    zero_outputs(args, rows, tile.first, end);
    return;
  }
  const KeyRows<__nv_bfloat16> keys = args.keys(tile, rows);
  const KeyRange all = keys_seen(rows, keys, tile.first, end - 1);
  const auto start_copies = [&](int32_t begin, int stage) {
    __nv_bfloat16* k = stages + 2 * stage * Shape::kTile;
    copy_rows<kD, kKeys, Shape::kThreads>(
        all.end - begin, args.heads.head_size, [&](int32_t j) { return keys.k + (begin + j) * keys.stride; }, k);
    copy_rows<kD, kKeys, Shape::kThreads>(
        all.end - begin, args.heads.head_size, [&](int32_t j) { return keys.v + (begin + j) * keys.stride; },
        k + Shape::kTile);
  };
  copy_rows<kD, Shape::kRows, Shape::kThreads>(
      end - tile.first, args.heads.head_size, [&](int32_t r) { return args.qkv + rows.query_at(tile.first + r); }, q);
  if (all.begin < all.end) start_copies(all.begin, 0);

  // The warp's rows: [first, last] of the segment, from `row` on in the tile.
  const int row = static_cast<int>(threadIdx.x) / 32 * 16 * Shape::kRowTiles;
  const int32_t first = tile.first + row;
  const int32_t last = min(first + 16 * Shape::kRowTiles, end) - 1;
  const KeyRange own = first <= last ? keys_seen(rows, keys, first, last) : KeyRange{0, 0};
  RunningRows<kD, Shape::kRowTiles> running;
  running.reset();
  int stage = 0;
  for (int32_t begin = all.begin; begin < all.end; begin += kKeys, stage ^= 1) {
    wait_for_copies();
    __syncthreads();
    if (begin + kKeys < all.end) start_copies(begin + kKeys, stage ^ 1);
    if (begin >= own.end || begin + kKeys <= own.begin) continue;
    const __nv_bfloat16* k = stages + 2 * stage * Shape::kTile;
    float s[Shape::kRowTiles][kKeys / 8][4];
    scores<kD>(q, row, k, s);
    if (!sees_all(rows, keys, first, last, begin, kKeys)) hide_unseen(rows, keys, first, begin, s);
    running.advance(args.heads.scale * kLog2e, s);
    add_product<kD>(s, k + Shape::kTile, running.o);
  }
  wait_for_copies();
  __syncthreads();
  if (first <= last) write_rows<kD>(args, rows, first, row, running, q);
}

}  // namespace centavo::flash
