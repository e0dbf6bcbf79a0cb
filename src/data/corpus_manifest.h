// manifest.json of a data directory: what it was made from and what it holds. The text carries its own hash
// (base/seal.h) and no time, so equal inputs give equal bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/shards.h"
#include "data/sources.h"

namespace centavo {

struct SourceRecord {
  Source source;
  uint64_t hash = 0;  // XXH3-64 of the file
};

struct CorpusSettings {
  int64_t vocab_size = 0;                  // of the tokenizer that was learnt; 0 when one was given
  std::optional<uint64_t> tokenizer_hash;  // of the tokenizer that was given
  double validation_fraction = 0;
  uint64_t seed = 0;
};

struct SplitRecord {
  int64_t documents = 0;
  int64_t text_bytes = 0;
  int64_t tokens = 0;
  std::vector<ShardRecord> shards;
};

struct CorpusManifest {
  std::vector<SourceRecord> sources;
  CorpusSettings settings;
  uint64_t tokenizer_hash = 0;
  SplitRecord train;
  SplitRecord validation;
  int64_t near_duplicates = 0;  // documents that train because they resemble training ones
};

// Of what a data directory is made from: equal fingerprints give equal directories. Paths do not count, the order and
// the kinds of the files do.
uint64_t fingerprint(const std::vector<SourceRecord>& sources, const CorpusSettings& settings);

std::string render_manifest(const CorpusManifest& manifest);
// UserError when the file is missing, damaged or of another version.
CorpusManifest read_manifest(const std::string& directory);
// The fingerprint in a directory's manifest; nothing when there is no manifest or it cannot be used.
std::optional<uint64_t> stored_fingerprint(const std::string& directory);

}  // namespace centavo
