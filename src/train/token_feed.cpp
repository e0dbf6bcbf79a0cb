#include "train/token_feed.h"

#include <algorithm>

namespace centavo {

TokenFeed::TokenFeed(const ByteText& text, int64_t sequences, int64_t seq_len, uint64_t seed)
    : text_(text),
      sequences_(sequences),
      seq_len_(seq_len),
      seed_(seed),
      tokens_(static_cast<size_t>(sequences * seq_len)),
      targets_(tokens_.size()),
      positions_(tokens_.size()) {
  for (size_t i = 0; i < positions_.size(); ++i)
    positions_[i] = static_cast<int32_t>(static_cast<int64_t>(i) % seq_len);
  for (int64_t s = 0; s <= sequences; ++s) cu_seqlens_.push_back(static_cast<int32_t>(s * seq_len));
}

std::span<int32_t> TokenFeed::row(std::vector<int32_t>& all, int64_t sequence) const {
  return std::span(all).subspan(static_cast<size_t>(sequence * seq_len_), static_cast<size_t>(seq_len_));
}

void TokenFeed::training(Machine& machine, int64_t index, int64_t slot) {
  for (int64_t s = 0; s < sequences_; ++s) {
    text_.train_sample(seed_, index * sequences_ + s, row(tokens_, s), row(targets_, s));
  }
  upload(machine, slot);
}

void TokenFeed::validation(Machine& machine, int64_t batch, int64_t windows) {
  for (int64_t s = 0; s < sequences_; ++s) {
    const int64_t window = batch * sequences_ + s;
    if (window < windows) {
      text_.validation_sample(window, row(tokens_, s), row(targets_, s));
    } else {
      std::ranges::fill(row(tokens_, s), 0);
      std::ranges::fill(row(targets_, s), -1);
    }
  }
  upload(machine, 0);
}

void TokenFeed::upload(Machine& machine, int64_t slot) const {
  const auto write = [&](const char* name, const std::vector<int32_t>& values) {
    machine.write(name, std::as_bytes(std::span(values)), slot);
  };
  write("tokens", tokens_);
  write("targets", targets_);
  write("positions", positions_);
  write("cu_seqlens", cu_seqlens_);
}

}  // namespace centavo
