#include "data/piece_merger.h"

#include <algorithm>
#include <functional>

namespace centavo {
namespace {

constexpr int kPositionBits = 8;
static_assert(kLargestVocabulary < int64_t{1} << (32 - kPositionBits), "a key holds a merge number and a position");
constexpr size_t kLane = 8;  // keys the minimum takes at once
constexpr size_t kLongestPart = size_t{1} << 30;

uint32_t least(const uint32_t* keys, size_t count) {
  std::array<uint32_t, kLane> lanes;
  lanes.fill(kNoMerge);
  for (size_t i = 0; i < count; i += kLane) {
    for (size_t lane = 0; lane < kLane; ++lane) lanes[lane] = std::min(lanes[lane], keys[i + lane]);
  }
  return *std::min_element(lanes.begin(), lanes.end());
}

int32_t joined(uint32_t number) { return static_cast<int32_t>(number + kByteVocabulary); }

// The tokens of a long piece as a list: a joined token stays where its left part stood.
struct Link {
  int32_t id = 0;
  uint32_t before = 0;
  uint32_t behind = 0;
};
constexpr int32_t kGone = -1;

class LongPiece {
 public:
  LongPiece(const MergeTable& table, std::string_view piece);
  void merge();
  void append_to(std::vector<int32_t>& ids) const;

 private:
  uint32_t number_at(uint32_t at) const;
  void join(uint32_t at, uint32_t number);
  void push(uint32_t at);

  const MergeTable& table_;
  uint32_t size_;
  std::vector<Link> links_;
  std::vector<uint64_t> heap_;  // number << 32 | position; entries whose pair is gone are skipped
};

LongPiece::LongPiece(const MergeTable& table, std::string_view piece)
    : table_(table), size_(static_cast<uint32_t>(piece.size())), links_(piece.size()) {
  for (uint32_t i = 0; i < size_; ++i) links_[i] = {static_cast<uint8_t>(piece[i]), i - 1, i + 1};
  for (uint32_t i = 0; i < size_; ++i) {
    const uint32_t number = number_at(i);
    if (number != kNoMerge) heap_.push_back(uint64_t{number} << 32 | i);
  }
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
}

uint32_t LongPiece::number_at(uint32_t at) const {
  const Link& link = links_[at];
  if (link.id == kGone || link.behind == size_) return kNoMerge;
  return table_.number_of(static_cast<uint32_t>(link.id), static_cast<uint32_t>(links_[link.behind].id));
}

void LongPiece::push(uint32_t at) {
  const uint32_t number = number_at(at);
  if (number == kNoMerge) return;
  heap_.push_back(uint64_t{number} << 32 | at);
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void LongPiece::join(uint32_t at, uint32_t number) {
  Link& link = links_[at];
  links_[link.behind].id = kGone;
  link.behind = links_[link.behind].behind;
  if (link.behind != size_) links_[link.behind].before = at;
  link.id = joined(number);
  push(at);
  if (at != 0) push(link.before);
}

void LongPiece::merge() {
  while (!heap_.empty()) {
    const uint64_t top = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    heap_.pop_back();
    const auto at = static_cast<uint32_t>(top);
    const auto number = static_cast<uint32_t>(top >> 32);
    if (number_at(at) == number) join(at, number);
  }
}

void LongPiece::append_to(std::vector<int32_t>& ids) const {
  for (uint32_t i = 0; i != size_; i = links_[i].behind) ids.push_back(links_[i].id);
}

}  // namespace

uint32_t PieceMerger::key_at(size_t at, size_t right) const {
  const uint32_t number = table_.number_of(static_cast<uint32_t>(ids_[at]), static_cast<uint32_t>(ids_[right]));
  return number == kNoMerge ? kNoMerge : number << kPositionBits | static_cast<uint32_t>(at);
}

// The last token has `size` behind it.
void PieceMerger::join(uint32_t key, size_t size) {
  const size_t at = key & ((1U << kPositionBits) - 1);
  const size_t gone = behind_[at];
  const size_t right = behind_[gone];
  ids_[at] = joined(key >> kPositionBits);
  keys_[gone] = kNoMerge;
  behind_[at] = static_cast<uint8_t>(right);
  keys_[at] = right == size ? kNoMerge : key_at(at, right);
  if (right != size) before_[right] = static_cast<uint8_t>(at);
  if (at != 0) keys_[before_[at]] = key_at(before_[at], at);
}

int32_t* PieceMerger::short_ids(size_t size, int32_t* to) const {
  for (size_t i = 0; i != size; i = behind_[i]) *to++ = ids_[i];
  return to;
}

int32_t* PieceMerger::merge(std::string_view piece, int32_t* to) {
  const size_t size = piece.size();
  const size_t padded = (size + kLane - 1) / kLane * kLane;
  std::fill(keys_.begin() + static_cast<ptrdiff_t>(size - 1), keys_.begin() + static_cast<ptrdiff_t>(padded), kNoMerge);
  for (size_t i = 0; i < size; ++i) {
    ids_[i] = static_cast<uint8_t>(piece[i]);
    before_[i] = static_cast<uint8_t>(i - 1);
    behind_[i] = static_cast<uint8_t>(i + 1);
  }
  for (size_t i = 0; i + 1 < size; ++i) {
    const uint32_t number = table_.number_of_bytes(static_cast<uint8_t>(piece[i]), static_cast<uint8_t>(piece[i + 1]));
    keys_[i] = number == kNoMerge ? kNoMerge : number << kPositionBits | static_cast<uint32_t>(i);
  }
  while (true) {
    const uint32_t key = least(keys_.data(), size);
    if (key == kNoMerge) return short_ids(size, to);
    join(key, size);
  }
}

void PieceMerger::merge_long(std::string_view piece, std::vector<int32_t>& ids) const {
  while (!piece.empty()) {
    LongPiece part(table_, piece.substr(0, kLongestPart));
    part.merge();
    part.append_to(ids);
    piece.remove_prefix(std::min(piece.size(), kLongestPart));
  }
}

}  // namespace centavo
