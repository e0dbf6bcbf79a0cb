#include "data/shards.h"

#include <algorithm>

#include "base/errors.h"
#include "data/shard_format.h"

namespace centavo {

using namespace shard_format;

namespace {

[[noreturn]] void damaged(const std::string& path, const std::string& why) {
  user_error("token file {} is damaged: {}; remove its directory and make it again with centavo data build", path, why);
}

template <class T>
T load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

constexpr int64_t kHeaderBytes = sizeof(Header);
// Keeps all sums of sizes far from overflow.
constexpr uint64_t kMostElements = uint64_t{1} << 48;

Header read_header(const std::string& path, std::string_view bytes) {
  if (bytes.size() < sizeof(Header)) damaged(path, fmt::format("it has {} bytes, less than a header", bytes.size()));
  const Header header = load<Header>(bytes.data());
  if (!bytes.starts_with(kMagic)) damaged(path, "it does not begin as a token file");
  if (hash_of_header(header) != header.hash) damaged(path, "its header does not match its hash");
  if (header.version != kVersion) {
    user_error("token file {} has version {}, this centavo reads {}: use the centavo that wrote it", path,
               header.version, kVersion);
  }
  const bool sane = header.vocab_size > 0 && header.vocab_size <= kMostElements && header.tokens <= kMostElements &&
                    header.documents <= header.tokens && (header.documents > 0) == (header.tokens > 0) &&
                    header.width == token_width(static_cast<int64_t>(header.vocab_size));
  if (!sane) damaged(path, "its header contradicts itself");
  return header;
}

}  // namespace

ShardReader::ShardReader(const std::string& path) : path_(path), file_(path) {
  const Header header = read_header(path, file_.view());
  width_ = header.width;
  tokens_ = static_cast<int64_t>(header.tokens);
  documents_ = static_cast<int64_t>(header.documents);
  vocab_size_ = static_cast<int64_t>(header.vocab_size);
  starts_at_ = starts_at(tokens_, width_);
  body_bytes_ = starts_at_ + documents_ * static_cast<int64_t>(sizeof(uint64_t));
  const int64_t blocks = blocks_of(body_bytes_);
  const int64_t table_at = kHeaderBytes + body_bytes_;
  const int64_t expected = table_at + blocks * static_cast<int64_t>(sizeof(uint64_t));
  const int64_t size = static_cast<int64_t>(file_.view().size());
  if (size != expected) damaged(path, fmt::format("it has {} bytes instead of {}", size, expected));
  digest_ = digest_of(header, file_.view().substr(static_cast<size_t>(table_at)));
  checked_ = std::make_unique<std::atomic<bool>[]>(static_cast<size_t>(blocks));
}

int64_t ShardReader::token(int64_t i) const {
  const char* at = file_.view().data() + kHeaderBytes + i * width_;
  return width_ == 2 ? load<uint16_t>(at) : load<uint32_t>(at);
}

int64_t ShardReader::document_start(int64_t i) const {
  return load<int64_t>(file_.view().data() + kHeaderBytes + starts_at_ + i * 8);
}

// Elements do not cross blocks: a block begins at a multiple of 8 in the body.
std::optional<std::string> ShardReader::defect_of_content(int64_t begin, int64_t end) const {
  for (int64_t i = begin / width_; i < std::min(end / width_, tokens_); ++i) {
    if (token(i) >= vocab_size_) return fmt::format("token {} is {} of a vocabulary of {}", i, token(i), vocab_size_);
  }
  const int64_t first = std::max<int64_t>(begin - starts_at_, 0) / 8;
  int64_t previous = -1;
  for (int64_t i = first; i < (end - starts_at_) / 8; ++i) {
    const int64_t start = document_start(i);
    if (start <= previous || start >= tokens_ || (i == 0 && start != 0)) {
      return fmt::format("document {} starts at token {}, out of order", i, start);
    }
    previous = start;
  }
  return std::nullopt;
}

std::optional<std::string> ShardReader::defect_of(int64_t block) const {
  const int64_t begin = block * kBlockBytes;
  const int64_t end = std::min(begin + kBlockBytes, body_bytes_);
  const std::string_view body = file_.view().substr(kHeaderBytes);
  const uint64_t expected = load<uint64_t>(body.data() + body_bytes_ + block * 8);
  const uint64_t actual = hash_of(body.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
  if (actual != expected) return "it does not match its hash";
  return defect_of_content(begin, end);
}

void ShardReader::check_block(int64_t block) const {
  const std::optional<std::string> defect = defect_of(block);
  if (defect) {
    const int64_t begin = kHeaderBytes + block * kBlockBytes;
    damaged(path_, fmt::format("block {}, from byte {} on: {}", block, begin, *defect));
  }
  checked_[static_cast<size_t>(block)].store(true, std::memory_order_relaxed);
}

void ShardReader::touch(int64_t begin, int64_t end) const {
  for (int64_t block = begin / kBlockBytes; block < blocks_of(end); ++block) {
    if (!checked_[static_cast<size_t>(block)].load(std::memory_order_relaxed)) check_block(block);
  }
}

void ShardReader::verify() const {
  for (int64_t block = 0; block < blocks_of(body_bytes_); ++block) check_block(block);
}

void ShardReader::read(int64_t start, std::span<int32_t> to) const {
  const int64_t count = static_cast<int64_t>(to.size());
  CHECK(0 <= start && start + count <= tokens_, "{} tokens from {} of {}", count, start, tokens_);
  touch(start * width_, (start + count) * width_);
  for (int64_t i = 0; i < count; ++i) to[static_cast<size_t>(i)] = static_cast<int32_t>(token(start + i));
}

// The first document that starts at `token` or later.
int64_t ShardReader::first_document_from(int64_t token) const {
  int64_t low = 0;
  int64_t high = documents_;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    touch(starts_at_ + middle * 8, starts_at_ + middle * 8 + 8);
    (document_start(middle) < token ? low = middle + 1 : high = middle);
  }
  return low;
}

void ShardReader::document_starts(int64_t begin, int64_t end, int64_t offset, std::vector<int64_t>& to) const {
  for (int64_t i = first_document_from(begin); i < documents_; ++i) {
    touch(starts_at_ + i * 8, starts_at_ + i * 8 + 8);
    if (document_start(i) >= end) return;
    to.push_back(offset + document_start(i));
  }
}

}  // namespace centavo
