#include <omp.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "data/bpe_trainer.h"
#include "data/byte_stream.h"
#include "data/corpus.h"
#include "data/corpus_passes.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

// Passes progress on, but not more often than a person reads.
class Reporter {
 public:
  explicit Reporter(const CorpusProgressFunction& report) : report_(report) {}

  void operator()(const CorpusProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (!report_ || now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    report_(progress);
  }

 private:
  const CorpusProgressFunction& report_;
  std::chrono::steady_clock::time_point last_;
};

void check_options(const CorpusOptions& options) {
  const double fraction = options.validation_fraction;
  if (!(fraction >= 0 && fraction < 1))
    user_error("the validation fraction is {}; give one from 0 to below 1", fraction);
  if (options.threads < 0 || options.threads > 1024) {
    user_error("the number of threads is {}; give one from 1 to 1024, or 0 for all", options.threads);
  }
  if (options.directory.empty()) user_error("no directory is named for the data; name one");
  if (!options.tokenizer.empty()) return;
  if (options.vocab_size < kByteVocabulary || options.vocab_size > kLargestVocabulary) {
    user_error("the vocabulary size is {}; give one from {} (plain bytes) to {}", options.vocab_size, kByteVocabulary,
               kLargestVocabulary);
  }
}

bool is_ours(const std::string& name) {
  return name == "manifest.json" || name == "tokenizer.json" || name.ends_with(".tokens");
}

// Nothing of the user's may be replaced, or be read as text while it is written.
void check_place(const CorpusOptions& options) {
  const std::string& place = options.directory;
  const fs::path absolute = fs::weakly_canonical(fs::absolute(place));
  for (const std::string& path : options.paths) {
    const fs::path source = fs::canonical(path);
    if (std::mismatch(source.begin(), source.end(), absolute.begin(), absolute.end()).first == source.end()) {
      user_error("{} lies inside {}, which is read as text; name a place elsewhere", place, path);
    }
  }
  if (!fs::exists(place)) return;
  if (!fs::is_directory(place)) user_error("{} is a file, not a directory; name another place for the data", place);
  for (const auto& entry : fs::directory_iterator(place)) {
    if (is_ours(entry.path().filename())) continue;
    user_error("{} holds {}, so it is no data directory to replace; name another place", place,
               entry.path().filename().string());
  }
}

// Without trailing slashes, so that a name can be formed beside it.
std::string place_of(std::string directory) {
  while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  return directory;
}

class CorpusBuilder {
 public:
  CorpusBuilder(const CorpusOptions& options, const CorpusProgressFunction& progress)
      : options_(options),
        place_(place_of(options.directory)),
        threads_(options.threads == 0 ? omp_get_max_threads() : options.threads),
        report_(progress) {
    check_options(options_);
    sources_ = find_sources(options_.paths);
    check_place(options_);
    settings_ = {.vocab_size = options_.tokenizer.empty() ? options_.vocab_size : 0,
                 .tokenizer_hash = std::nullopt,
                 .validation_fraction = options_.validation_fraction,
                 .seed = options_.seed};
    if (options_.tokenizer.empty()) return;
    given_ = Tokenizer::read(options_.tokenizer);
    settings_.tokenizer_hash = given_->hash();
  }

  CorpusOutcome run() {
    if (is_there()) {
      open_corpus(place_);
      return CorpusOutcome::was_there;
    }
    make_directories(parent_directory(place_));
    ScratchDirectory scratch(place_);
    write_to(scratch.path());
    scratch.install();
    return CorpusOutcome::made;
  }

 private:
  CorpusProgressFunction passed_on() {
    return [this](const CorpusProgress& progress) { report_(progress); };
  }

  bool is_there() {
    const std::optional<uint64_t> stored = stored_fingerprint(place_);
    return stored && *stored == fingerprint(hash_sources(), settings_);
  }

  std::vector<SourceRecord> hash_sources() {
    int64_t total = 0;
    int64_t done = 0;
    for (const Source& source : sources_) total += source.size_bytes;
    std::vector<SourceRecord> records;
    for (Source source : sources_) {
      source.compression = Compression::none;
      ByteStream stream(source);
      while (!stream.next().empty()) report_({"comparing", done + stream.file_bytes(), total});
      done += stream.file_bytes();
      records.push_back({sources_[records.size()], stream.file_hash()});
    }
    return records;
  }

  void write_to(const std::string& directory) {
    CandidatePool pool(options_.validation_fraction, options_.seed);
    const bool learns = !given_ && options_.vocab_size > kByteVocabulary;
    CorpusScan scan = scan_corpus(sources_, learns ? Pieces::counted : Pieces::ignored, threads_, pool, passed_on());
    if (scan.documents == 0) user_error("there is no text in {}; give some", fmt::join(options_.paths, " "));
    const Tokenizer tokenizer = given_ ? *given_ : learn(scan.pieces);
    scan.pieces = PieceCounts(1);
    CorpusManifest manifest;
    manifest.sources = std::move(scan.sources);
    manifest.settings = settings_;
    manifest.tokenizer_hash = tokenizer.hash();
    encode(directory, tokenizer, pool, manifest);
    check_splits(manifest);
    write_file_atomic(directory + "/tokenizer.json", tokenizer.json());
    write_file_atomic(directory + "/manifest.json", render_manifest(manifest));
  }

  Tokenizer learn(const PieceCounts& pieces) {
    const int64_t merges = std::max<int64_t>(options_.vocab_size - kByteVocabulary - 1, 0);
    return train_bpe(pieces, options_.vocab_size, [&](int64_t learnt) {
      report_({"learning the tokenizer", learnt, merges});
    });
  }

  void encode(const std::string& directory, const Tokenizer& tokenizer, const CandidatePool& pool,
              CorpusManifest& manifest) {
    const std::vector<uint64_t> hashes =
        encode_corpus(sources_, directory, tokenizer, pool, threads_, passed_on(), manifest);
    for (size_t i = 0; i < sources_.size(); ++i) {
      if (hashes[i] == manifest.sources[i].hash) continue;
      user_error("{} changed while it was read; try again when it is complete", sources_[i].path);
    }
  }

  void check_splits(const CorpusManifest& manifest) const {
    const int64_t held_out = manifest.validation.documents + manifest.near_duplicates;
    if (manifest.train.documents == 0) {
      user_error(
          "no document is left to train on: all {} were held out; give more documents, or hold nothing out "
          "(a validation fraction of 0; a run needs validation_every = 0 then)",
          held_out);
    }
    if (options_.validation_fraction > 0 && manifest.validation.documents == 0) {
      user_error(
          "no document is left to validate on: all {} that were held out resemble training documents; give more "
          "text, hold out more of it, or nothing (validation fraction 0)",
          held_out);
    }
  }

  CorpusOptions options_;
  std::string place_;
  int threads_;
  Reporter report_;
  std::vector<Source> sources_;
  CorpusSettings settings_;
  std::optional<Tokenizer> given_;
};

}  // namespace

CorpusOutcome build_corpus(const CorpusOptions& options, const CorpusProgressFunction& progress) {
  return CorpusBuilder(options, progress).run();
}

}  // namespace centavo
