#include "data/corpus_manifest.h"

#include <xxhash.h>

#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "base/seal.h"

namespace centavo {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kFormat = 1;

std::string path_in(const std::string& directory) { return directory + "/manifest.json"; }

[[noreturn]] void damaged(const std::string& path, const std::string& why) {
  user_error("{} is damaged: {}; remove its directory and make it again with centavo data build", path, why);
}

constexpr std::array<const char*, 2> kFormats = {"plain", "jsonl"};
constexpr std::array<const char*, 3> kCompressions = {"none", "gzip", "zstd"};
const char* name_of(TextFormat format) { return kFormats[static_cast<size_t>(format)]; }
const char* name_of(Compression compression) { return kCompressions[static_cast<size_t>(compression)]; }

ordered_json to_json(const CorpusSettings& settings) {
  ordered_json json = {{"vocab_size", settings.vocab_size},
                       {"validation_fraction", settings.validation_fraction},
                       {"seed", settings.seed}};
  if (settings.tokenizer_hash) json["tokenizer"] = hex64(*settings.tokenizer_hash);
  return json;
}

ordered_json to_json(const SplitRecord& split) {
  ordered_json json = {{"documents", split.documents}, {"text_bytes", split.text_bytes}, {"tokens", split.tokens}};
  json["shards"] = ordered_json::array();
  for (const ShardRecord& shard : split.shards) {
    json["shards"].push_back({{"name", shard.name},
                              {"tokens", shard.tokens},
                              {"documents", shard.documents},
                              {"digest", hex64(shard.digest)}});
  }
  return json;
}

// A path of the system may be no UTF-8, which JSON cannot hold.
std::string printable(const std::string& path) {
  return parse_ordered_json(json_text(ordered_json(path))).get<std::string>();
}

ordered_json to_json(const SourceRecord& record) {
  return {{"path", printable(record.source.path)},
          {"format", name_of(record.source.format)},
          {"compression", name_of(record.source.compression)},
          {"size", record.source.size_bytes},
          {"xxh3", hex64(record.hash)}};
}

uint64_t hash_in(const std::string& path, const ordered_json& text) {
  const std::optional<uint64_t> hash = parse_hex64(text.get<std::string>());
  if (!hash) damaged(path, fmt::format("{} is no hash", json_text(text)));
  return *hash;
}

template <class Enum, size_t N>
Enum enum_in(const std::string& path, const ordered_json& text, const std::array<const char*, N>& names) {
  for (size_t i = 0; i < N; ++i) {
    if (text.get<std::string>() == names[i]) return static_cast<Enum>(i);
  }
  damaged(path, fmt::format("{} is unknown", json_text(text)));
}

SplitRecord split_in(const std::string& path, const ordered_json& json) {
  SplitRecord split = {.documents = json.at("documents").get<int64_t>(),
                       .text_bytes = json.at("text_bytes").get<int64_t>(),
                       .tokens = json.at("tokens").get<int64_t>(),
                       .shards = {}};
  for (const ordered_json& shard : json.at("shards")) {
    split.shards.push_back({.name = shard.at("name").get<std::string>(),
                            .tokens = shard.at("tokens").get<int64_t>(),
                            .documents = shard.at("documents").get<int64_t>(),
                            .digest = hash_in(path, shard.at("digest"))});
  }
  return split;
}

CorpusSettings settings_in(const std::string& path, const ordered_json& json) {
  CorpusSettings settings = {.vocab_size = json.at("vocab_size").get<int64_t>(),
                             .tokenizer_hash = std::nullopt,
                             .validation_fraction = json.at("validation_fraction").get<double>(),
                             .seed = json.at("seed").get<uint64_t>()};
  if (json.contains("tokenizer")) settings.tokenizer_hash = hash_in(path, json.at("tokenizer"));
  return settings;
}

SourceRecord source_in(const std::string& path, const ordered_json& json) {
  return {.source = {.path = json.at("path").get<std::string>(),
                     .format = enum_in<TextFormat>(path, json.at("format"), kFormats),
                     .compression = enum_in<Compression>(path, json.at("compression"), kCompressions),
                     .size_bytes = json.at("size").get<int64_t>()},
          .hash = hash_in(path, json.at("xxh3"))};
}

CorpusManifest parse_manifest(const std::string& path, const ordered_json& json) {
  const int64_t format = json.at("format").get<int64_t>();
  if (format != kFormat) {
    user_error("{} has format {}, this centavo reads {}: use the centavo that wrote it", path, format, kFormat);
  }
  CorpusManifest manifest = {.sources = {},
                             .settings = settings_in(path, json.at("settings")),
                             .tokenizer_hash = hash_in(path, json.at("tokenizer")),
                             .train = split_in(path, json.at("train")),
                             .validation = split_in(path, json.at("validation")),
                             .near_duplicates = json.at("near_duplicates").get<int64_t>()};
  for (const ordered_json& source : json.at("sources")) manifest.sources.push_back(source_in(path, source));
  return manifest;
}

}  // namespace

uint64_t fingerprint(const std::vector<SourceRecord>& sources, const CorpusSettings& settings) {
  std::string text = fmt::format("centavo data {}\n{}\n", kFormat, json_text(to_json(settings)));
  for (const SourceRecord& record : sources) {
    text += fmt::format("{} {} {} {}\n", name_of(record.source.format), name_of(record.source.compression),
                        record.source.size_bytes, hex64(record.hash));
  }
  return XXH3_64bits(text.data(), text.size());
}

std::string render_manifest(const CorpusManifest& manifest) {
  ordered_json json = {{"format", kFormat},
                       {"fingerprint", hex64(fingerprint(manifest.sources, manifest.settings))},
                       {"settings", to_json(manifest.settings)},
                       {"tokenizer", hex64(manifest.tokenizer_hash)},
                       {"train", to_json(manifest.train)},
                       {"validation", to_json(manifest.validation)},
                       {"near_duplicates", manifest.near_duplicates},
                       {"sources", ordered_json::array()}};
  for (const SourceRecord& record : manifest.sources) json["sources"].push_back(to_json(record));
  return seal(json_text(json, 2) + "\n");
}

CorpusManifest read_manifest(const std::string& directory) {
  const std::string path = path_in(directory);
  if (!std::filesystem::exists(path)) {
    user_error("{} is not a data directory: it has no manifest.json; make one with centavo data build", directory);
  }
  const std::optional<std::string> text = unseal(read_file(path));
  if (!text) damaged(path, "it does not match its own hash");
  try {
    return parse_manifest(path, parse_ordered_json(*text));
  } catch (const ordered_json::exception& error) {
    damaged(path, fmt::format("its fields cannot be read ({})", error.what()));
  }
}

std::optional<uint64_t> stored_fingerprint(const std::string& directory) {
  const std::string path = path_in(directory);
  if (!std::filesystem::exists(path)) return std::nullopt;
  const std::optional<std::string> text = unseal(read_file(path));
  if (!text) return std::nullopt;
  const ordered_json json = ordered_json::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("fingerprint") || !json["fingerprint"].is_string()) return std::nullopt;
  return parse_hex64(json["fingerprint"].get<std::string>());
}

}  // namespace centavo
