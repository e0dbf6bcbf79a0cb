// The sizes of one call of attention, for its kernels on every machine.
#pragma once

#include <cmath>
#include <cstdint>

#include "program/op_table.h"

namespace centavo::flash {

inline constexpr int64_t kMaxHeadSize = 256;

struct AttentionSizes {
  int64_t tokens = 0, heads = 1, kv_heads = 1, head_size = 0, window = 0, documents = 0;

  int64_t group() const { return heads / kv_heads; }
  int64_t y_row() const { return heads * head_size; }
  int64_t qkv_row() const { return (heads + 2 * kv_heads) * head_size; }
  int64_t key_column(int64_t kv) const { return (heads + kv) * head_size; }
  int64_t value_column(int64_t kv) const { return (heads + kv_heads + kv) * head_size; }
};

AttentionSizes attention_sizes(const OpView& view, size_t qkv, size_t cu_seqlens);

template <class A>
A attention_scale(const AttentionSizes& sizes) {
  return static_cast<A>(1.0 / std::sqrt(static_cast<double>(sizes.head_size)));
}

}  // namespace centavo::flash
