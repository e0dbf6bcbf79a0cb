// Fills the token buffers of a machine: tokens, targets, positions and cu_seqlens of one micro-batch (data/packing.h).
#pragma once

#include <optional>
#include <vector>

#include "data/corpus.h"
#include "data/packing.h"
#include "machine/machine.h"
#include "train/run_config.h"

namespace centavo {

class TokenFeed {
 public:
  // The corpus must outlive this object.
  TokenFeed(const Corpus& corpus, int64_t sequences, int64_t seq_len, uint64_t seed,
            Documents documents = Documents::apart);
  // As the configuration says.
  TokenFeed(const Corpus& corpus, const RunConfig& config);

  // Micro-batch `index`, counted from the run's start: samples index * sequences and on.
  void training(Machine& machine, int64_t index, int64_t slot);
  // A micro-batch without targets, for a rank that has nothing to do.
  void nothing(Machine& machine, int64_t slot);

  // Windows that cover the validation split; 0 without one.
  int64_t validation_windows() const { return validation_ ? validation_->windows() : 0; }
  // Validation windows batch * sequences and on, without those from `windows` on. Returns the bytes of text that the
  // targets stand for.
  int64_t validation(Machine& machine, int64_t batch, int64_t windows);

 private:
  void upload(Machine& machine, int64_t slot);
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
