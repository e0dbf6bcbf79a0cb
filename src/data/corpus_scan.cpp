#include "data/corpus_passes.h"
#include "data/document_batches.h"

namespace centavo {
namespace {

constexpr int64_t kSampleBytes = int64_t{256} << 20;
constexpr int64_t kMostPieces = int64_t{1} << 20;

class Scanner {
 public:
  Scanner(const std::vector<Source>& sources, Pieces pieces, int threads, CandidatePool& pool)
      : reader_(sources, pieces == Pieces::counted ? kSampleBytes : 0),
        sources_(sources),
        threads_(threads),
        pool_(pool),
        pieces_(batch_slots(threads), PieceCounts(kMostPieces)) {}

  CorpusScan run(const CorpusProgressFunction& report) {
    for_each_batch(reader_, threads_,
                   {[&](const DocumentBatch& batch, size_t slot, size_t) { process(batch, slot); },
                    [&](const DocumentBatch& batch, size_t slot) {
                      finish(batch, slot);
                      report({"scanning", reader_.file_bytes(), reader_.total_bytes()});
                    }});
    if (pool_.holds_out() && pool_.candidates().empty() && !last_.empty()) pool_.offer(pool_.hash_of(last_), last_);
    for (size_t i = 0; i < sources_.size(); ++i) scan_.sources.push_back({sources_[i], reader_.file_hashes()[i]});
    return std::move(scan_);
  }

 private:
  void process(const DocumentBatch& batch, size_t slot) {
    for (size_t i = 0; i < batch.size(); ++i) {
      const uint64_t hash = pool_.holds_out() ? pool_.hash_of(batch[i]) : 0;
      if (pool_.holds_out() && pool_.is_below_fraction(hash)) {
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
  CandidatePool& pool_;
  std::vector<PieceCounts> pieces_;  // by slot
  std::string last_;
  CorpusScan scan_ = {.pieces = PieceCounts(kMostPieces), .sources = {}, .documents = 0};
};

}  // namespace

CorpusScan scan_corpus(const std::vector<Source>& sources, Pieces pieces, int threads, CandidatePool& pool,
                       const CorpusProgressFunction& report) {
  return Scanner(sources, pieces, threads, pool).run(report);
}

}  // namespace centavo
