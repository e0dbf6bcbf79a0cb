// Remembers the ids of pieces seen, in bounded memory.
//
// A flat table with a short probe window. A piece of up to 15 bytes is its own key (its bytes and length in 128 bits);
// of a longer one, up to kLongestPiece, the key is a hash and its bytes are kept beside the ids and compared. When the
// window of a new piece is full an entry in it gives way; when the room for long entries is used up all are forgotten.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace centavo {

struct PieceKey {
  uint64_t low = 0;
  uint64_t high = 0;  // the length in the top byte, so never 0

  bool operator==(const PieceKey&) const = default;
};

// The bits that the first so many bytes fill.
inline constexpr std::array<PieceKey, 16> kKeyMasks = [] {
  std::array<PieceKey, 16> masks{};
  for (size_t i = 0; i < masks.size(); ++i) {
    masks[i].low = i < 8 ? (uint64_t{1} << (8 * i)) - 1 : UINT64_MAX;
    masks[i].high = i > 8 ? (uint64_t{1} << (8 * (i - 8))) - 1 : 0;
  }
  return masks;
}();

class PieceCache {
 public:
  using Key = PieceKey;
  static constexpr size_t kLongestPiece = 255;

  PieceCache();

  // Of a piece of 1 to kLongestPiece bytes; up to `readable_end` bytes may be read.
  static Key key_of(std::string_view piece, const char* readable_end) {
    if (piece.size() > kLongestOwnKey) return hashed_key(piece);
    const uint64_t length = uint64_t{piece.size()} << 56;
    if (readable_end - piece.data() < static_cast<ptrdiff_t>(sizeof(Key))) return own_key_at_end(piece, length);
    const PieceKey& mask = kKeyMasks[piece.size()];
    return {word_at(piece.data()) & mask.low, (word_at(piece.data() + sizeof(uint64_t)) & mask.high) | length};
  }

  // Writes the piece's ids and returns their end, or null when the piece is not known. Up to kLongestPiece ids are
  // written, and always room for kInline is used.
  int32_t* find(const Key& key, std::string_view piece, int32_t* to) const {
    const size_t first = slot_of(key);
    for (size_t i = first; i < first + kWindow; ++i) {
      const Slot& slot = slots_[i];
      if (slot.key == key) {
        if (slot.count > kInline || piece.size() > kLongestOwnKey) return find_long(slot, piece, to);
        std::memcpy(to, slot.ids.data(), sizeof slot.ids);
        return to + slot.count;
      }
      if (slot.count == 0) break;
    }
    return nullptr;
  }

  // Remembers a piece that find did not know, of at most kLongestPiece ids.
  void insert(const Key& key, std::string_view piece, std::span<const int32_t> ids);

 private:
  static constexpr size_t kLongestOwnKey = kKeyMasks.size() - 1;
  static constexpr size_t kInline = 3;
  static constexpr size_t kWindow = 4;
  static constexpr int kSlotBits = 16;
  static constexpr size_t kArenaIds = size_t{1} << 19;

  struct Slot {
    Key key;
    uint32_t count = 0;                     // 0: empty
    std::array<int32_t, kInline> ids = {};  // or the first: where in the arena the ids, and a long piece's bytes, are
  };
  static_assert(sizeof(Slot) == 32);

  static uint64_t word_at(const char* at) {
    uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return word;
  }
  static Key own_key_at_end(std::string_view piece, uint64_t length) {
    std::array<char, sizeof(Key)> bytes{};
    std::memcpy(bytes.data(), piece.data(), piece.size());
    return {word_at(bytes.data()), word_at(bytes.data() + sizeof(uint64_t)) | length};
  }
  static Key hashed_key(std::string_view piece);
  static size_t slot_of(const Key& key) {
    const uint64_t mixed = (key.low ^ (key.high * 0x9E3779B97F4A7C15)) * 0xD6E8FEB86659FD93;
    return static_cast<size_t>((mixed ^ mixed >> 32) * 0x9E3779B97F4A7C15 >> (64 - kSlotBits));
  }
  int32_t* find_long(const Slot& slot, std::string_view piece, int32_t* to) const;
  Slot& slot_for(const Key& key);
  int32_t keep(std::string_view piece, std::span<const int32_t> ids);
  void forget_all();

  std::vector<Slot> slots_;
  std::vector<int32_t> arena_;
  size_t evictions_ = 0;
};

}  // namespace centavo
