#include "data/merge_table.h"

#include <algorithm>
#include <bit>

namespace centavo {
namespace {
constexpr size_t kFewestSlots = 16;
}

MergeTable::MergeTable(std::span<const Tokenizer::Merge> merges)
    : slots_(std::bit_ceil(std::max(2 * merges.size(), kFewestSlots)), kEmpty),
      mask_(slots_.size() - 1),
      shift_(64 - std::countr_zero(slots_.size())),
      byte_pairs_(kByteVocabulary * kByteVocabulary, kNoMerge) {
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto left = static_cast<uint32_t>(merges[i].first);
    const auto right = static_cast<uint32_t>(merges[i].second);
    size_t at = first_slot(pack(left, right));
    while (slots_[at] != kEmpty) at = (at + 1) & mask_;
    slots_[at] = pack(left, right) | i;
    if (left < kByteVocabulary && right < kByteVocabulary) {
      byte_pairs_[size_t{left} << 8 | right] = static_cast<uint32_t>(i);
    }
  }
}

}  // namespace centavo
