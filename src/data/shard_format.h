// Where things stand in a shard; see shards.h.
#pragma once

#include <xxhash.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace centavo::shard_format {

static_assert(std::endian::native == std::endian::little, "shards are read and written without swapping bytes");

inline constexpr std::string_view kMagic = "CENTAVO\n";
inline constexpr uint32_t kVersion = 1;
inline constexpr int64_t kBlockBytes = int64_t{1} << 20;
inline constexpr int64_t kTwoByteVocabulary = 65'536;

struct Header {
  char magic[8] = {};
  uint32_t version = 0;
  uint32_t width = 0;
  uint64_t tokens = 0;
  uint64_t documents = 0;
  uint64_t vocab_size = 0;
  uint64_t zeros[2] = {};
  uint64_t hash = 0;
};
static_assert(sizeof(Header) == 64);

inline uint64_t hash_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }
inline std::string_view bytes_of(const Header& header) {
  return {reinterpret_cast<const char*>(&header), sizeof(header)};
}
template <class T>
std::string_view bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}
inline uint64_t hash_of_header(const Header& header) {
  return hash_of(bytes_of(header).substr(0, sizeof(Header) - sizeof(header.hash)));
}

inline int64_t token_width(int64_t vocab_size) { return vocab_size <= kTwoByteVocabulary ? 2 : 4; }
inline int64_t blocks_of(int64_t body_bytes) { return (body_bytes + kBlockBytes - 1) / kBlockBytes; }
// Of the document starts in the body.
inline int64_t starts_at(int64_t tokens, int64_t width) { return (tokens * width + 7) / 8 * 8; }

inline uint64_t digest_of(const Header& header, std::string_view block_table) {
  return XXH3_64bits_withSeed(block_table.data(), block_table.size(), header.hash);
}

}  // namespace centavo::shard_format
