// Fills the token buffers of a machine: tokens, targets, positions and cu_seqlens of one micro-batch.
#pragma once

#include <vector>

#include "machine/machine.h"
#include "train/text_data.h"

namespace centavo {

class TokenFeed {
 public:
  TokenFeed(const ByteText& text, int64_t sequences, int64_t seq_len, uint64_t seed);

  // Micro-batch `index`, counted from the run's start: samples index * sequences and on.
  void training(Machine& machine, int64_t index, int64_t slot);
  // Validation windows batch * sequences and on; those from `windows` on are masked out (target -1).
  void validation(Machine& machine, int64_t batch, int64_t windows);

 private:
  void upload(Machine& machine, int64_t slot) const;
  std::span<int32_t> row(std::vector<int32_t>& all, int64_t sequence) const;

  const ByteText& text_;
  int64_t sequences_;
  int64_t seq_len_;
  uint64_t seed_;
  std::vector<int32_t> tokens_, targets_, positions_, cu_seqlens_;
};

}  // namespace centavo
