// The kernel behind tile_table.h: boundaries by a running maximum, tiles before each segment by a running sum, then one
// thread a tile looks up its segment.
#pragma once

#include <cstdint>

#include "ops/attention/tile_table.h"

namespace centavo::flash {

constexpr int kTableThreads = 1024;

struct Boundaries {
  const int32_t* cu_seqlens;
  int32_t documents;
  int32_t tokens;

  __device__ int32_t segments() const { return documents + 2; }
  // Where segment s begins, before it is made no smaller than those before it; s <= segments().
  __device__ int32_t unordered(int32_t s) const {
    if (s == 0) return 0;
    if (s == segments()) return tokens;
    return min(max(cu_seqlens[s - 1], 0), tokens);
  }
};

struct Largest {
  __device__ int32_t operator()(int32_t a, int32_t b) const { return max(a, b); }
};
struct Sum {
  __device__ int32_t operator()(int32_t a, int32_t b) const { return a + b; }
};

// `value` of all threads before this one put together, 0 for the first. Begins and ends with a barrier.
template <class Join>
__device__ int32_t scan_before(int32_t value, Join join, int32_t* shared) {
  const int thread = threadIdx.x;
  __syncthreads();
  shared[thread] = value;
  __syncthreads();
  for (int apart = 1; apart < kTableThreads; apart *= 2) {
    const int32_t before = thread >= apart ? shared[thread - apart] : 0;
    __syncthreads();
    shared[thread] = join(shared[thread], before);
    __syncthreads();
  }
  const int32_t result = thread > 0 ? shared[thread - 1] : 0;
  __syncthreads();
  return result;
}

// Writes where segments begin.
__device__ inline void find_begins(const Boundaries& from, const TileTable& table, int32_t* shared) {
  const int32_t count = from.segments() + 1;
  const int32_t share = (count + kTableThreads - 1) / kTableThreads;
  const int32_t own = min(static_cast<int32_t>(threadIdx.x) * share, count);
  const int32_t own_end = min(own + share, count);
  int32_t largest = 0;
  for (int32_t s = own; s < own_end; ++s) largest = max(largest, from.unordered(s));
  largest = scan_before(largest, Largest{}, shared);
  for (int32_t s = own; s < own_end; ++s) {
    largest = max(largest, from.unordered(s));
    table.begins[s] = largest;
  }
  __syncthreads();
}

// Writes how many tiles stand before each segment.
__device__ inline void count_tiles(int32_t segments, const TileTable& table, int32_t* shared) {
  const auto tiles_of = [&](int32_t s) {
    const int32_t rows = (table.begins[s + 1] - table.begins[s]) * table.rows_per_token;
    return (rows + table.tile_rows - 1) / table.tile_rows;
  };
  const int32_t share = (segments + kTableThreads - 1) / kTableThreads;
  const int32_t own = min(static_cast<int32_t>(threadIdx.x) * share, segments);
  const int32_t own_end = min(own + share, segments);
  int32_t before = 0;
  for (int32_t s = own; s < own_end; ++s) before += tiles_of(s);
  before = scan_before(before, Sum{}, shared);
  for (int32_t s = own; s < own_end; ++s) {
    table.tiles_before[s] = before;
    before += tiles_of(s);
    if (s == segments - 1) table.tiles_before[segments] = before;
  }
  __syncthreads();
}

// The last segment with no more than `tile` tiles before it: the one that holds it, as empty ones come before.
__device__ inline int32_t segment_of(int32_t tile, int32_t segments, const int32_t* tiles_before) {
  int32_t low = 0;
  int32_t high = segments;  // tiles_before[low] <= tile < tiles_before[high]
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    if (tiles_before[middle] <= tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

static __global__ void __launch_bounds__(kTableThreads) fill_table(Boundaries from, TileTable a, TileTable b) {
  __shared__ int32_t shared[kTableThreads];
  TileTable table = a;
  if (blockIdx.x == 1) table = b;
  const int32_t segments = from.segments();
  find_begins(from, table, shared);
  count_tiles(segments, table, shared);
  const int32_t total = table.tiles_before[segments];
  for (int32_t t = threadIdx.x; t < table.capacity; t += kTableThreads) {
    TableTile tile{0, 0, 0, -1};
    const int32_t at = table.order == TileOrder::last_tile_first && t < total ? total - 1 - t : t;
    if (t < total) {
      const int32_t s = segment_of(t, segments, table.tiles_before);
      tile.begin = table.begins[s];
      tile.length = table.begins[s + 1] - tile.begin;
      tile.first = (t - table.tiles_before[s]) * table.tile_rows;
      tile.document = s == 0 || s == segments - 1 ? -1 : s - 1;
    }
    table.tiles[at] = tile;
  }
}

}  // namespace centavo::flash
