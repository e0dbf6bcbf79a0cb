// The two passes of build_corpus (corpus.h) over the text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/bpe_trainer.h"
#include "data/corpus.h"
#include "data/corpus_manifest.h"
#include "data/held_out.h"

namespace centavo {

enum class Pieces : uint8_t { ignored, counted };

struct CorpusScan {
  PieceCounts pieces;
  std::vector<SourceRecord> sources;
  int64_t documents = 0;
};

// The first pass: fills `pool`, and counts the pieces of documents that are not below its fraction.
CorpusScan scan_corpus(const std::vector<Source>& sources, Pieces pieces, int threads, CandidatePool& pool,
                       const CorpusProgressFunction& report);

// The second pass: writes the shards into `directory` and their records into `manifest`. Returns the hashes of the
// sources as they were this time.
std::vector<uint64_t> encode_corpus(const std::vector<Source>& sources, const std::string& directory,
                                    const Tokenizer& tokenizer, const CandidatePool& pool, int threads,
                                    const CorpusProgressFunction& report, CorpusManifest& manifest);

}  // namespace centavo
