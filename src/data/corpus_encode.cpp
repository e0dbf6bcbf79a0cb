#include <filesystem>
#include <span>

#include "data/corpus_passes.h"
#include "data/document_batches.h"

namespace centavo {
namespace {

constexpr size_t kLargestKeptBuffer = size_t{1} << 20;

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

  void read(BatchReader& reader, const CorpusProgressFunction& report) {
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
      std::filesystem::remove(path);
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

}  // namespace

std::vector<uint64_t> encode_corpus(const std::vector<Source>& sources, const std::string& directory,
                                    const Tokenizer& tokenizer, const CandidatePool& pool, int threads,
                                    const CorpusProgressFunction& report, CorpusManifest& manifest) {
  BatchReader reader(sources, 0);
  CorpusEncoder encoder(directory, tokenizer, pool, threads);
  encoder.read(reader, report);
  encoder.finish(manifest);
  return reader.file_hashes();
}

}  // namespace centavo
