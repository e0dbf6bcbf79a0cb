// The tokens of a split, over its shards, as one row. Any number of threads may read.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/shards.h"

namespace centavo {

class TokenStream {
 public:
  explicit TokenStream(std::vector<ShardReader> shards);

  int64_t size() const { return begins_.back(); }
  int64_t documents() const;

  // The tokens from `start` on. UserError when a block they stand in is damaged.
  void read(int64_t start, std::span<int32_t> to) const;
  // Replaces `to` by the places in [begin, end) at which documents start, ascending.
  void document_starts(int64_t begin, int64_t end, std::vector<int64_t>& to) const;

  const std::vector<ShardReader>& shards() const { return shards_; }

 private:
  // f(shard, its place in the row, first and last + 1 token in it) for each shard that [begin, end) touches.
  template <class F>
  void for_each_part(int64_t begin, int64_t end, const F& f) const;

  std::vector<ShardReader> shards_;
  std::vector<int64_t> begins_;  // of each shard, and the end
};

}  // namespace centavo
