// Joins the tokens of one piece: of all neighbouring pairs the one with the lowest merge number, the leftmost first.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "data/merge_table.h"

namespace centavo {

class PieceMerger {
 public:
  explicit PieceMerger(std::span<const Tokenizer::Merge> merges) : table_(merges) {}

  // Writes the ids of a piece of 1 to 255 bytes and returns their end. One pass over the pairs for every merge.
  int32_t* merge(std::string_view piece, int32_t* to);

  // Appends the ids of a piece of any length, in O(n log n). A piece is taken GiB by GiB.
  void merge_long(std::string_view piece, std::vector<int32_t>& ids) const;

 private:
  static constexpr size_t kMost = 256;

  int32_t* short_ids(size_t size, int32_t* to) const;
  void join(uint32_t key, size_t size);
  uint32_t key_at(size_t at, size_t right) const;

  MergeTable table_;
  // keys_[i]: the merge of token i with its right neighbour, number << 8 | i; or kNoMerge. The least comes next.
  std::array<uint32_t, kMost> keys_;
  std::array<int32_t, kMost> ids_;
  std::array<uint8_t, kMost> before_;
  std::array<uint8_t, kMost> behind_;
};

}  // namespace centavo
