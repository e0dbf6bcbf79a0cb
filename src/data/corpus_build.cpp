#include <omp.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "data/bpe_trainer.h"
#include "data/byte_stream.h"
#include "data/corpus.h"
#include "data/document_batches.h"
#include "data/held_out.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSampleBytes = int64_t{256} << 20;
constexpr int64_t kMostPieces = int64_t{1} << 20;
constexpr size_t kLargestKeptBuffer = size_t{1} << 20;

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

// --- what is asked for

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
  for (const std::string& path : options.paths) {
    const auto [in_path, in_place] =
        std::ranges::mismatch(fs::canonical(path), fs::weakly_canonical(fs::absolute(place)));
    if (in_path == fs::canonical(path).end()) {
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

// --- first pass

struct Scan {
  PieceCounts pieces{kMostPieces};
  std::vector<SourceRecord> sources;
  int64_t documents = 0;
};

class Scanner {
 public:
  Scanner(const std::vector<Source>& sources, const CorpusOptions& options, int threads, CandidatePool& pool)
      : reader_(sources, options.tokenizer.empty() && options.vocab_size > kByteVocabulary ? kSampleBytes : 0),
        sources_(sources),
        threads_(threads),
        holds_out_(options.validation_fraction > 0),
        pool_(pool),
        pieces_(batch_slots(threads), PieceCounts(kMostPieces)) {}

  Scan run(Reporter& report) {
    for_each_batch(reader_, threads_,
                   {[&](const DocumentBatch& batch, size_t slot, size_t) { process(batch, slot); },
                    [&](const DocumentBatch& batch, size_t slot) {
                      finish(batch, slot);
                      report({"scanning", reader_.file_bytes(), reader_.total_bytes()});
                    }});
    if (holds_out_ && pool_.candidates().empty() && !last_.empty()) pool_.offer(pool_.hash_of(last_), last_);
    for (size_t i = 0; i < sources_.size(); ++i) scan_.sources.push_back({sources_[i], reader_.file_hashes()[i]});
    return std::move(scan_);
  }

 private:
  void process(const DocumentBatch& batch, size_t slot) {
    for (size_t i = 0; i < batch.size(); ++i) {
      const uint64_t hash = holds_out_ ? pool_.hash_of(batch[i]) : 0;
      if (holds_out_ && pool_.is_below_fraction(hash)) {
        pool_.offer(hash, batch[i]);
      } else if (batch.is_sampled) {
        pieces_[slot].add(batch[i]);
      }
    }
  }

  // Which pieces are forgotten depends on the order in which they come, so they come in the text's.
  void finish(const DocumentBatch& batch, size_t slot) {
    if (batch.is_sampled) {
      scan_.pieces.merge(pieces_[slot]);
      pieces_[slot] = PieceCounts(kMostPieces);
    }
    scan_.documents += static_cast<int64_t>(batch.size());
    last_ = batch[batch.size() - 1];
  }

  BatchReader reader_;
  const std::vector<Source>& sources_;
  int threads_;
  bool holds_out_;
  CandidatePool& pool_;
  std::vector<PieceCounts> pieces_;  // by slot
  std::string last_;
  Scan scan_;
};

// --- second pass

// The encoded documents of a batch.
struct Encoded {
  std::vector<int32_t> ids;
  std::vector<size_t> ends;
  std::vector<uint32_t> candidates;  // or HeldOut::kTrains

  void clear() {
    if (ids.capacity() > kLargestKeptBuffer) ids = {};
    ids.clear();
    ends.clear();
    candidates.clear();
  }
  std::span<const int32_t> operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::span(ids).subspan(begin, ends[i] - begin);
  }
};

class SplitWriter {
 public:
  SplitWriter(const std::string& directory, const char* split, int64_t vocab_size)
      : writer_(directory, split, vocab_size) {}

  void add(std::span<const int32_t> document, int64_t text_bytes) {
    writer_.add(document);
    ++record_.documents;
    record_.tokens += static_cast<int64_t>(document.size());
    record_.text_bytes += text_bytes;
  }
  SplitRecord finish() {
    record_.shards = writer_.finish();
    return record_;
  }

 private:
  ShardWriter writer_;
  SplitRecord record_;
};

// Candidates wait in shards of their own until every training document was seen.
class CorpusEncoder {
 public:
  CorpusEncoder(const std::string& directory, const Tokenizer& tokenizer, const CandidatePool& pool, int threads)
      : directory_(directory),
        tokenizer_(tokenizer),
        pool_(pool),
        held_out_(pool),
        threads_(threads),
        encoded_(batch_slots(threads)),
        train_(directory, "train", tokenizer.vocab_size()),
        validation_(directory, "validation", tokenizer.vocab_size()),
        waiting_(directory, "waiting", tokenizer.vocab_size()),
        text_bytes_(held_out_.size()) {
    for (int i = 0; i < threads; ++i) encoders_.emplace_back(tokenizer);
  }

  void read(BatchReader& reader, Reporter& report) {
    for_each_batch(reader, threads_,
                   {[&](const DocumentBatch& batch, size_t slot, size_t thread) { encode(batch, slot, thread); },
                    [&](const DocumentBatch& batch, size_t slot) {
                      write(batch, encoded_[slot]);
                      report({"encoding", reader.file_bytes(), reader.total_bytes()});
                    }});
  }

  void finish(CorpusManifest& manifest) {
    held_out_.mark_connected();
    next_waiting_ = 0;
    for (const ShardRecord& record : waiting_.finish().shards) {
      const std::string path = directory_ + "/" + record.name;
      distribute(ShardReader(path), manifest.near_duplicates);
      fs::remove(path);
    }
    manifest.train = train_.finish();
    manifest.validation = validation_.finish();
  }

 private:
  void encode(const DocumentBatch& batch, size_t slot, size_t thread) {
    Encoded& out = encoded_[slot];
    out.clear();
    for (size_t i = 0; i < batch.size(); ++i) {
      const std::string_view text = batch[i];
      out.candidates.push_back(held_out_.size() == 0 ? HeldOut::kTrains : held_out_.candidate(pool_.hash_of(text)));
      if (out.candidates.back() == HeldOut::kTrains) held_out_.saw_training_document(text);
      if (tokenizer_.end_of_text()) out.ids.push_back(*tokenizer_.end_of_text());
      encoders_[thread].encode(text, out.ids);
      out.ends.push_back(out.ids.size());
    }
  }

  void write(const DocumentBatch& batch, const Encoded& encoded) {
    for (size_t i = 0; i < batch.size(); ++i) {
      const int64_t text_bytes = static_cast<int64_t>(batch[i].size());
      const uint32_t candidate = encoded.candidates[i];
      (candidate == HeldOut::kTrains ? train_ : waiting_).add(encoded[i], text_bytes);
      if (candidate == HeldOut::kTrains) continue;
      candidates_.push_back(candidate);
      text_bytes_[candidate] = text_bytes;
    }
  }

  void distribute(const ShardReader& shard, int64_t& near_duplicates) {
    std::vector<int64_t> borders;
    shard.document_starts(0, shard.tokens(), 0, borders);
    borders.push_back(shard.tokens());
    std::vector<int32_t> document;
    for (size_t i = 0; i + 1 < borders.size(); ++i) {
      document.resize(static_cast<size_t>(borders[i + 1] - borders[i]));
      shard.read(borders[i], document);
      const uint32_t candidate = candidates_[next_waiting_++];
      const bool trains = held_out_.resembles_training(candidate);
      (trains ? train_ : validation_).add(document, text_bytes_[candidate]);
      near_duplicates += trains ? 1 : 0;
    }
  }

  std::string directory_;
  const Tokenizer& tokenizer_;
  const CandidatePool& pool_;
  HeldOut held_out_;
  int threads_;
  std::vector<Encoder> encoders_;  // by thread
  std::vector<Encoded> encoded_;   // by slot
  SplitWriter train_, validation_, waiting_;
  std::vector<uint32_t> candidates_;  // of each waiting document
  std::vector<int64_t> text_bytes_;   // by candidate
  size_t next_waiting_ = 0;
};

// --- the whole

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
    Scan scan = Scanner(sources_, options_, threads_, pool).run(report_);
    if (scan.documents == 0) user_error("there is no text in {}; give some", fmt::join(options_.paths, " "));
    const Tokenizer tokenizer = given_ ? *given_ : learn(scan.pieces);
    scan.pieces = PieceCounts(kMostPieces);
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
    CorpusEncoder encoder(directory, tokenizer, pool, threads_);
    BatchReader reader(sources_, 0);
    encoder.read(reader, report_);
    for (size_t i = 0; i < sources_.size(); ++i) {
      if (reader.file_hashes()[i] == manifest.sources[i].hash) continue;
      user_error("{} changed while it was read; try again when it is complete", sources_[i].path);
    }
    encoder.finish(manifest);
  }

  void check_splits(const CorpusManifest& manifest) const {
    const int64_t held_out = manifest.validation.documents + manifest.near_duplicates;
    if (manifest.train.documents == 0) {
      user_error(
          "no document is left to train on: all {} were held out; give more text, or hold nothing out "
          "(validation fraction 0)",
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
