#include <algorithm>

#include "base/errors.h"
#include "data/shard_format.h"
#include "data/shards.h"

namespace centavo {

using namespace shard_format;

// A shard that is being written: whole blocks go to the file, the beginning of the next one waits here.
class ShardWriter::Open {
 public:
  Open(const std::string& path, int64_t vocab_size)
      : file_(path), width_(token_width(vocab_size)), vocab_size_(vocab_size) {
    file_.append(bytes_of(Header()));
    block_.reserve(static_cast<size_t>(kBlockBytes));
  }

  void add(std::span<const int32_t> document) {
    starts_.push_back(static_cast<uint64_t>(tokens_));
    for (const int32_t token : document) {
      put({reinterpret_cast<const char*>(&token), static_cast<size_t>(width_)});
    }
    tokens_ += static_cast<int64_t>(document.size());
  }

  int64_t tokens_bytes() const { return tokens_ * width_; }
  int64_t documents() const { return static_cast<int64_t>(starts_.size()); }

  ShardRecord commit(const std::string& name) {
    put(std::string_view("\0\0\0\0\0\0\0", static_cast<size_t>(starts_at(tokens_, width_) - tokens_bytes())));
    for (const uint64_t start : starts_) put({reinterpret_cast<const char*>(&start), sizeof(start)});
    if (!block_.empty()) end_block();
    const std::string_view table = bytes_of(std::span<const uint64_t>(hashes_));
    file_.append(table);
    const Header header = make_header();
    file_.overwrite(0, bytes_of(header));
    file_.commit();
    return {name, tokens_, documents(), digest_of(header, table)};
  }

 private:
  // Pieces never cross a block: their sizes divide it, and they stand at multiples of them.
  void put(std::string_view piece) {
    block_.insert(block_.end(), piece.begin(), piece.end());
    if (static_cast<int64_t>(block_.size()) == kBlockBytes) end_block();
  }

  void end_block() {
    hashes_.push_back(hash_of(block_));
    file_.append(block_);
    block_.clear();
  }

  Header make_header() const {
    Header header = {.version = kVersion,
                     .width = static_cast<uint32_t>(width_),
                     .tokens = static_cast<uint64_t>(tokens_),
                     .documents = starts_.size(),
                     .vocab_size = static_cast<uint64_t>(vocab_size_)};
    std::copy(kMagic.begin(), kMagic.end(), header.magic);
    header.hash = hash_of_header(header);
    return header;
  }

  FileWriter file_;
  int64_t width_;
  int64_t vocab_size_;
  int64_t tokens_ = 0;
  std::string block_;
  std::vector<uint64_t> starts_;
  std::vector<uint64_t> hashes_;
};

ShardWriter::ShardWriter(std::string directory, std::string split, int64_t vocab_size, ShardLimits limits)
    : directory_(std::move(directory)), split_(std::move(split)), vocab_size_(vocab_size), limits_(limits) {}

ShardWriter::~ShardWriter() = default;
ShardWriter::ShardWriter(ShardWriter&&) noexcept = default;

void ShardWriter::add(std::span<const int32_t> document) {
  CHECK(!document.empty());
  const auto [least, most] = std::ranges::minmax(document);
  CHECK(0 <= least && most < vocab_size_, "ids {} to {} of {}", least, most, vocab_size_);
  if (!open_) {
    const std::string name = fmt::format("{}-{:05}.tokens", split_, records_.size());
    open_ = std::make_unique<Open>(directory_ + "/" + name, vocab_size_);
    records_.push_back({.name = name});
  }
  open_->add(document);
  if (open_->tokens_bytes() >= limits_.tokens_bytes || open_->documents() >= limits_.documents) close();
}

void ShardWriter::close() {
  records_.back() = open_->commit(records_.back().name);
  open_.reset();
}

std::vector<ShardRecord> ShardWriter::finish() {
  if (open_) close();
  return records_;
}

}  // namespace centavo
