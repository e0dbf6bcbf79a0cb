// The micro-batches of a run in a file, for other programs to train on, or be scored by, the very tokens that centavo
// sees.
//
//   int64 [4]                                    the format (1), micro-batches M, sequences B, seq_len L
//   M times int32 [B L] tokens, [B L] targets    as in data/packing.h: a target of -1 does not count
//
// Little-endian. The documents of a sequence are joined: the file does not say where one ends, so positions count
// through each sequence and attention is causal over all of it. Step s of a run takes micro-batches s A to s A + A - 1,
// A = grad_accum_steps.
//
// Errors: UserError for a run whose documents are apart, without a validation split where one is asked for, and for a
// file that is no such file; those of base/files.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/files.h"
#include "data/corpus.h"
#include "data/packing.h"
#include "train/run_config.h"

namespace centavo {

// What the trainer feeds in the first `steps` steps of the run.
void write_training_batches(const Corpus& corpus, const RunConfig& config, int64_t steps, const std::string& path);

// The whole validation split, each target once; behind its end a micro-batch has no targets.
void write_validation_batches(const Corpus& corpus, const RunConfig& config, const std::string& path);

// Uniform random tokens, others in every micro-batch, fixed by the run's seed; every token has a target.
void write_random_batches(const RunConfig& config, int64_t steps, const std::string& path);

class BatchFile {
 public:
  explicit BatchFile(const std::string& path);

  int64_t batches() const { return header_[1]; }
  int64_t sequences() const { return header_[2]; }
  int64_t seq_len() const { return header_[3]; }
  std::span<const int32_t> tokens(int64_t batch) const { return values(2 * batch); }
  std::span<const int32_t> targets(int64_t batch) const { return values(2 * batch + 1); }

  // With positions and cu_seqlens of joined documents.
  TokenBatch batch(int64_t index) const;

 private:
  std::span<const int32_t> values(int64_t row) const;

  MappedFile file_;
  std::span<const int64_t> header_;
};

}  // namespace centavo
