// From two neighbouring tokens to the number of the merge that joins them.
//
// An open-addressing table of one 64-bit word an entry, left, right and number packed by 21 bits, at most half full:
// a look-up mostly reads one cache line. Pairs of bytes, with which every piece starts, have a direct table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/tokenizer.h"

namespace centavo {

inline constexpr uint32_t kNoMerge = UINT32_MAX;

class MergeTable {
 public:
  explicit MergeTable(std::span<const Tokenizer::Merge> merges);

  // kNoMerge when the pair is never joined. The joined token is kByteVocabulary + the number.
  uint32_t number_of(uint32_t left, uint32_t right) const {
    const uint64_t pair = pack(left, right);
    for (size_t at = first_slot(pair);; at = (at + 1) & mask_) {
      const uint64_t slot = slots_[at];
      if ((slot & ~kNumberMask) == pair) return static_cast<uint32_t>(slot & kNumberMask);
      if (slot == kEmpty) return kNoMerge;
    }
  }
  uint32_t number_of_bytes(uint8_t left, uint8_t right) const { return byte_pairs_[size_t{left} << 8 | right]; }

 private:
  static constexpr int kBits = 21;
  static constexpr uint64_t kNumberMask = (uint64_t{1} << kBits) - 1;
  static constexpr uint64_t kEmpty = UINT64_MAX;  // no entry: it has 63 bits
  static_assert(kLargestVocabulary <= int64_t{1} << kBits);

  static uint64_t pack(uint32_t left, uint32_t right) {
    return uint64_t{left} << (2 * kBits) | uint64_t{right} << kBits;
  }
  size_t first_slot(uint64_t pair) const { return static_cast<size_t>((pair >> kBits) * kOdd >> shift_); }
  static constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio

  std::vector<uint64_t> slots_;
  size_t mask_ = 0;
  int shift_ = 0;
  std::vector<uint32_t> byte_pairs_;
};

}  // namespace centavo
