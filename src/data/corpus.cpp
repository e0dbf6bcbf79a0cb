#include "data/corpus.h"

#include <xxhash.h>

#include "base/errors.h"
#include "base/seal.h"

namespace centavo {
namespace {

[[noreturn]] void damaged(const std::string& path, const std::string& why) {
  user_error("{} is damaged: {}; remove its directory and make it again with centavo data build", path, why);
}

Tokenizer open_tokenizer(const std::string& directory, uint64_t expected) {
  const std::string path = directory + "/tokenizer.json";
  Tokenizer tokenizer = Tokenizer::read(path);
  if (tokenizer.hash() != expected) damaged(path, "it is not the tokenizer that made the tokens");
  return tokenizer;
}

ShardReader open_shard(const std::string& directory, const ShardRecord& record, int64_t vocab_size) {
  const std::string path = directory + "/" + record.name;
  ShardReader shard(path);
  const bool matches = shard.digest() == record.digest && shard.tokens() == record.tokens &&
                       shard.documents() == record.documents && shard.vocab_size() == vocab_size;
  if (!matches) damaged(path, "it is not the file that the manifest describes");
  return shard;
}

TokenStream open_split(const std::string& directory, const SplitRecord& split, int64_t vocab_size) {
  std::vector<ShardReader> shards;
  for (const ShardRecord& record : split.shards) shards.push_back(open_shard(directory, record, vocab_size));
  TokenStream stream(std::move(shards));
  if (stream.size() != split.tokens || stream.documents() != split.documents) {
    damaged(directory + "/manifest.json", "its counts contradict each other");
  }
  return stream;
}

uint64_t content_hash(const CorpusManifest& manifest) {
  std::string text = hex64(manifest.tokenizer_hash) + "\ntrain\n";
  for (const ShardRecord& shard : manifest.train.shards) text += hex64(shard.digest) + "\n";
  text += "validation\n";
  for (const ShardRecord& shard : manifest.validation.shards) text += hex64(shard.digest) + "\n";
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace

Corpus open_corpus(const std::string& directory) {
  CorpusManifest manifest = read_manifest(directory);
  Tokenizer tokenizer = open_tokenizer(directory, manifest.tokenizer_hash);
  TokenStream train = open_split(directory, manifest.train, tokenizer.vocab_size());
  TokenStream validation = open_split(directory, manifest.validation, tokenizer.vocab_size());
  const uint64_t hash = content_hash(manifest);
  return {std::move(manifest), std::move(tokenizer), std::move(train), std::move(validation), hash};
}

}  // namespace centavo
