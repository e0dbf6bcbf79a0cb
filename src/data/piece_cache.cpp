#include "data/piece_cache.h"

#include <xxhash.h>

#include <algorithm>

namespace centavo {
namespace {

size_t ids_that_hold(size_t bytes) { return (bytes + sizeof(int32_t) - 1) / sizeof(int32_t); }

}  // namespace

PieceCache::PieceCache() : slots_((size_t{1} << kSlotBits) + kWindow) { arena_.reserve(kArenaIds); }

PieceCache::Key PieceCache::hashed_key(std::string_view piece) {
  const XXH128_hash_t hash = XXH3_128bits(piece.data(), piece.size());
  return {hash.low64, hash.high64 >> 8 | uint64_t{piece.size()} << 56};
}

int32_t* PieceCache::find_long(const Slot& slot, std::string_view piece, int32_t* to) const {
  const int32_t* kept = arena_.data() + slot.ids[0];
  const bool same = piece.size() <= kLongestOwnKey || std::memcmp(kept + slot.count, piece.data(), piece.size()) == 0;
  return same ? std::copy_n(kept, slot.count, to) : nullptr;
}

void PieceCache::insert(const Key& key, std::string_view piece, std::span<const int32_t> ids) {
  const bool is_long = ids.size() > kInline || piece.size() > kLongestOwnKey;
  const int32_t place = is_long ? keep(piece, ids) : 0;  // before the slot is picked: it may empty the table
  Slot& slot = slot_for(key);
  slot = {key, static_cast<uint32_t>(ids.size()), {}};
  if (is_long) {
    slot.ids[0] = place;
  } else {
    std::copy(ids.begin(), ids.end(), slot.ids.begin());
  }
}

PieceCache::Slot& PieceCache::slot_for(const Key& key) {
  const size_t first = slot_of(key);
  for (size_t i = first; i < first + kWindow; ++i) {
    if (slots_[i].count == 0 || slots_[i].key == key) return slots_[i];
  }
  return slots_[first + evictions_++ % kWindow];
}

int32_t PieceCache::keep(std::string_view piece, std::span<const int32_t> ids) {
  const size_t bytes = piece.size() > kLongestOwnKey ? ids_that_hold(piece.size()) : 0;
  if (arena_.size() + ids.size() + bytes > kArenaIds) forget_all();
  const size_t place = arena_.size();
  arena_.insert(arena_.end(), ids.begin(), ids.end());
  arena_.resize(arena_.size() + bytes);
  if (bytes > 0) std::memcpy(arena_.data() + place + ids.size(), piece.data(), piece.size());
  return static_cast<int32_t>(place);
}

void PieceCache::forget_all() {
  std::fill(slots_.begin(), slots_.end(), Slot{});
  arena_.clear();
}

}  // namespace centavo
