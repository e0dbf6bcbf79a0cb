// The micro-batches of a run, and their tokens, targets, positions and cu_seqlens (data/packing.h) in the token buffers
// of a machine.
#pragma once

#include <optional>
#include <vector>

#include "data/corpus.h"
#include "data/packing.h"
#include "machine/machine.h"
#include "train/run_config.h"

namespace centavo {

// Into a slot of the machine's token buffers.
void write_batch(Machine& machine, const TokenBatch& batch, int64_t slot);

class TokenFeed {
 public:
  // The corpus must outlive this object.
  TokenFeed(const Corpus& corpus, int64_t sequences, int64_t seq_len, uint64_t seed,
            Documents documents = Documents::apart);
  // As the configuration says.
  TokenFeed(const Corpus& corpus, const RunConfig& config);

  // Micro-batch `index`, counted from the run's start: samples index * sequences and on. Valid until the next call of
  // any function.
  const TokenBatch& training_batch(int64_t index);
  void training(Machine& machine, int64_t index, int64_t slot) { write_batch(machine, training_batch(index), slot); }
  // A micro-batch without targets, for a rank that has nothing to do.
  void nothing(Machine& machine, int64_t slot);

  // Windows that cover the validation split; 0 without one.
  int64_t validation_windows() const { return validation_ ? validation_->windows() : 0; }
  // Validation windows batch * sequences and on, without those from `windows` on. Valid until the next call.
  const TokenBatch& validation_batch(int64_t batch, int64_t windows);
  // Returns the bytes of text that the targets stand for.
  int64_t validation(Machine& machine, int64_t batch, int64_t windows);

 private:
  const TokenBatch& packed();
  int64_t bytes_of_targets() const;

  const Corpus& corpus_;
  int64_t seq_len_;
  Documents documents_;
  TrainingSampler training_;
  std::optional<ValidationWindows> validation_;
  std::vector<Window> windows_;  // of one micro-batch
  TokenBatch batch_;
};

}  // namespace centavo
