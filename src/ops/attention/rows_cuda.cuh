// What the CUDA kernels of attention share: where rows, keys and values lie, and what a row sees.
//
// As on the CPU (tiles.h), row r of (segment, key/value head) is token r / group of the segment, query head r % group
// of the group: the heads of a group share the tiles of keys and values that a block loads.
#pragma once

#include <bit>
#include <cstdint>

#include "ops/attention/tile_table.h"

namespace centavo::flash {

constexpr float kLog2e = 1.44269504088896340736f;
// A score that is not seen, and where running maxima begin: below any score, above what is not seen, so that a row that
// has seen nothing gives unseen keys the weight 0. Finite: differences stay numbers.
constexpr float kUnseenScore = -3.402823466e38f;
constexpr float kLowestPeak = kUnseenScore / 2;

// n / divisor for 0 <= n < 2^31, as a product. Source: Granlund and Montgomery, "Division by invariant integers", 1994.
struct Divisor {
  uint32_t divisor = 1;
  uint32_t factor = 1u << 31;
  int32_t shift = 31;

  Divisor() = default;
  explicit Divisor(uint32_t d) : divisor(d), shift(31 + std::bit_width(d - 1)) {
    factor = static_cast<uint32_t>(((uint64_t{1} << shift) + d - 1) / d);
  }
  __device__ int32_t quotient(int32_t n) const {
    return static_cast<int32_t>((static_cast<uint64_t>(static_cast<uint32_t>(n)) * factor) >> shift);
  }
};

struct Heads {
  int32_t tokens = 0, heads = 1, kv_heads = 1, head_size = 0, window = 0;
  Divisor group;
  float scale = 1;

  __device__ int64_t y_row() const { return static_cast<int64_t>(heads) * head_size; }
  __device__ int64_t qkv_row() const { return static_cast<int64_t>(heads + 2 * kv_heads) * head_size; }
  __device__ int64_t key_column(int32_t kv) const { return static_cast<int64_t>(heads + kv) * head_size; }
  __device__ int64_t value_column(int32_t kv) const { return static_cast<int64_t>(heads + kv_heads + kv) * head_size; }
  // The first key that the query at this position sees.
  __device__ int32_t first_key(int32_t position) const { return window == 0 ? 0 : max(0, position - window + 1); }
  // The last of `length` tokens that sees this key; positions are tokens.
  __device__ int32_t last_token(int32_t key, int32_t length) const {
    return window == 0 ? length - 1 : min(length - 1, key + window - 1);
  }
};

// The rows of one segment and key/value head.
struct SegmentRows {
  Heads heads;
  int32_t begin;   // first token
  int32_t length;  // tokens
  int32_t kv;

  __device__ int32_t count() const { return length * static_cast<int32_t>(heads.group.divisor); }
  __device__ int32_t token(int32_t row) const { return heads.group.quotient(row); }
  __device__ int32_t head(int32_t row) const {
    const int32_t group = static_cast<int32_t>(heads.group.divisor);
    return kv * group + row - token(row) * group;
  }
  // Where a row lies in qkv or dqkv, in y or dy, and in lse.
  __device__ int64_t query_at(int32_t row) const {
    return (begin + token(row)) * heads.qkv_row() + static_cast<int64_t>(head(row)) * heads.head_size;
  }
  __device__ int64_t output_at(int32_t row) const {
    return (begin + token(row)) * heads.y_row() + static_cast<int64_t>(head(row)) * heads.head_size;
  }
  __device__ int64_t lse_at(int32_t row) const {
    return static_cast<int64_t>(head(row)) * heads.tokens + begin + token(row);
  }
  // Where the rows' statistics lie in the backward's workspace [K, N, H / K].
  __device__ int64_t statistics_at() const {
    return (static_cast<int64_t>(kv) * heads.tokens + begin) * heads.group.divisor;
  }
};

// Keys and values of one document and key/value head: key j at k + j * stride.
template <class T>
struct KeyRows {
  const T* k;
  const T* v;
  int64_t stride;
  int32_t count;
  int32_t position;  // of the document's first query
};

template <class T>
__device__ inline KeyRows<T> keys_in_qkv(const T* qkv, const SegmentRows& rows) {
  const T* first = qkv + rows.begin * rows.heads.qkv_row();
  return {first + rows.heads.key_column(rows.kv), first + rows.heads.value_column(rows.kv), rows.heads.qkv_row(),
          rows.length, 0};
}

struct KeyRange {
  int32_t begin, end;
};

// The keys that some row of [first, last] sees.
template <class T>
__device__ inline KeyRange keys_seen(const SegmentRows& rows, const KeyRows<T>& keys, int32_t first, int32_t last) {
  return {rows.heads.first_key(keys.position + rows.token(first)),
          min(keys.position + rows.token(last) + 1, keys.count)};
}

// The keys that one row sees.
template <class T>
__device__ inline KeyRange keys_seen_by(const SegmentRows& rows, const KeyRows<T>& keys, int32_t row) {
  return keys_seen(rows, keys, row, row);
}

// Do all of rows [first, last] see all of `count` keys from `begin` on?
template <class T>
__device__ inline bool sees_all(const SegmentRows& rows, const KeyRows<T>& keys, int32_t first, int32_t last,
                                int32_t begin, int32_t count) {
  return begin + count <= keys_seen_by(rows, keys, first).end && begin >= keys_seen_by(rows, keys, last).begin;
}

}  // namespace centavo::flash
