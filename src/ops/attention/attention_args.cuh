// What the CUDA kernels of attention are called with.
#pragma once

#include "ops/attention/rows_cuda.cuh"

namespace centavo::flash {

template <class T>
struct ForwardArgs {
  Heads heads;
  int32_t max_len = 0;  // of the cache; 0: no cache
  const TableTile* tiles = nullptr;
  const T* qkv = nullptr;
  const int32_t* positions = nullptr;
  T* k_cache = nullptr;
  T* v_cache = nullptr;
  T* y = nullptr;
  float* lse = nullptr;

  __device__ int64_t cache_row() const { return static_cast<int64_t>(heads.kv_heads) * heads.head_size; }
  __device__ int32_t position(int32_t document) const { return min(max(positions[document], 0), max_len); }
  __device__ KeyRows<T> keys(const TableTile& tile, const SegmentRows& rows) const {
    if (max_len == 0) return keys_in_qkv(qkv, rows);
    const int64_t at = tile.document * cache_row() * max_len + static_cast<int64_t>(rows.kv) * heads.head_size;
    const int32_t first = position(tile.document);
    return {k_cache + at, v_cache + at, cache_row(), min(first + rows.length, max_len), first};
  }
};

// Padding: y = 0, lse = 0.
template <class T>
__device__ inline void zero_outputs(const ForwardArgs<T>& args, const SegmentRows& rows, int32_t first, int32_t end) {
  const int32_t head_size = args.heads.head_size;
  for (int32_t r = first; r < end; ++r) {
    for (int32_t c = threadIdx.x; c < head_size; c += blockDim.x) args.y[rows.output_at(r) + c] = T(0.0f);
    if (threadIdx.x == 0) args.lse[rows.lse_at(r)] = 0;
  }
}

template <class T>
struct BackwardArgs {
  Heads heads;
  const TableTile* tiles = nullptr;
  const T* dy = nullptr;
  const T* qkv = nullptr;
  const float* lse_log2 = nullptr;  // [K, N, H / K], lse log2(e)
  const float* delta = nullptr;     // [K, N, H / K]
  T* dqkv = nullptr;
};

// Padding: the columns of a tile's queries, or of its keys and values, are 0.
template <class T>
__device__ inline void zero_query_gradients(const BackwardArgs<T>& args, const SegmentRows& rows, int32_t first,
                                            int32_t end) {
  for (int32_t r = first; r < end; ++r) {
    T* dq = args.dqkv + rows.query_at(r);
    for (int32_t c = threadIdx.x; c < args.heads.head_size; c += blockDim.x) dq[c] = T(0.0f);
  }
}

template <class T>
__device__ inline void zero_key_gradients(const BackwardArgs<T>& args, const SegmentRows& rows, int32_t first,
                                          int32_t end) {
  for (int32_t token = first; token < end; ++token) {
    T* row = args.dqkv + (rows.begin + token) * args.heads.qkv_row();
    for (int32_t c = threadIdx.x; c < args.heads.head_size; c += blockDim.x) {
      row[args.heads.key_column(rows.kv) + c] = T(0.0f);
      row[args.heads.value_column(rows.kv) + c] = T(0.0f);
    }
  }
}

}  // namespace centavo::flash
