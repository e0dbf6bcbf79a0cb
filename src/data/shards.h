// Files of tokens.
//
//   byte 0   header: magic "CENTAVO\n", u32 version, u32 width of a token (2, or 4 when the vocabulary is above
//   65,536),
//            u64 tokens, u64 documents, u64 vocabulary, u64 0, u64 0, XXH3-64 of the 56 bytes before
//       64   body: the tokens, zeros up to a multiple of 8, and for each document the place of its first token as u64
//            (ascending from 0; a document has at least one token)
//            block table: the XXH3-64 of each MiB of the body, the last one shorter
//
// All numbers are little-endian. A split is a list of shards, SPLIT-00000.tokens and on; a shard begins with a
// document.
//
// Errors: anything damaged is a UserError that names the file and where; a failed system call is an IoError.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"

namespace centavo {

// A shard ends with the document that reaches one of these.
struct ShardLimits {
  int64_t tokens_bytes = int64_t{1} << 30;
  int64_t documents = int64_t{1} << 22;
};

struct ShardRecord {
  std::string name;  // of the file, without its directory
  int64_t tokens = 0;
  int64_t documents = 0;
  uint64_t digest = 0;  // XXH3-64 of header and block table, which vouch for the rest
};

// Writes the shards of a split into a directory. Each file appears whole.
class ShardWriter {
 public:
  ShardWriter(std::string directory, std::string split, int64_t vocab_size, ShardLimits limits = {});
  ~ShardWriter();
  ShardWriter(ShardWriter&&) noexcept;
  ShardWriter& operator=(ShardWriter&&) = delete;

  // At least one token, each in [0, vocab_size).
  void add(std::span<const int32_t> document);
  // What was written; an empty split has no shards.
  std::vector<ShardRecord> finish();

 private:
  class Open;
  void close();

  std::string directory_;
  std::string split_;
  int64_t vocab_size_;
  ShardLimits limits_;
  std::unique_ptr<Open> open_;
  std::vector<ShardRecord> records_;
};

// A shard in memory, mapped. The file's size, header and block table are checked when it is opened; a block, ids
// included, before its first byte is used. Any number of threads may read. Hazard: shortening the file while it is
// open ends the process.
class ShardReader {
 public:
  explicit ShardReader(const std::string& path);

  int64_t tokens() const { return tokens_; }
  int64_t documents() const { return documents_; }
  int64_t vocab_size() const { return vocab_size_; }
  uint64_t digest() const { return digest_; }

  // The tokens from `start` on.
  void read(int64_t start, std::span<int32_t> to) const;
  // Appends `offset` plus the first places of the documents that start in [begin, end).
  void document_starts(int64_t begin, int64_t end, int64_t offset, std::vector<int64_t>& to) const;
  // Checks every block.
  void verify() const;

 private:
  void touch(int64_t begin, int64_t end) const;
  void check_block(int64_t block) const;
  std::optional<std::string> defect_of(int64_t block) const;
  std::optional<std::string> defect_of_content(int64_t begin, int64_t end) const;
  int64_t token(int64_t i) const;
  int64_t document_start(int64_t i) const;
  int64_t first_document_from(int64_t token) const;

  std::string path_;
  MappedFile file_;
  int64_t width_ = 0;
  int64_t tokens_ = 0;
  int64_t documents_ = 0;
  int64_t vocab_size_ = 0;
  int64_t starts_at_ = 0;  // in the body
  int64_t body_bytes_ = 0;
  uint64_t digest_ = 0;
  std::unique_ptr<std::atomic<bool>[]> checked_;  // by block
};

}  // namespace centavo
