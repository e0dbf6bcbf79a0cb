#include "train/token_feed.h"

namespace centavo {

void write_batch(Machine& machine, const TokenBatch& batch, int64_t slot) {
  const auto write = [&](const char* name, const std::vector<int32_t>& values) {
    machine.write(name, std::as_bytes(std::span(values)), slot);
  };
  write("tokens", batch.tokens);
  write("targets", batch.targets);
  write("positions", batch.positions);
  write("cu_seqlens", batch.cu_seqlens);
}

TokenFeed::TokenFeed(const Corpus& corpus, int64_t sequences, int64_t seq_len, uint64_t seed, Documents documents)
    : corpus_(corpus),
      seq_len_(seq_len),
      documents_(documents),
      training_(corpus.train, seq_len, seed),
      windows_(static_cast<size_t>(sequences)) {
  if (corpus.validation.size() > 1) validation_.emplace(corpus.validation, seq_len);
}

TokenFeed::TokenFeed(const Corpus& corpus, const RunConfig& config)
    : TokenFeed(corpus, config.micro_batch, config.seq_len, static_cast<uint64_t>(config.seed),
                config.documents == "joined" ? Documents::joined : Documents::apart) {}

const TokenBatch& TokenFeed::training_batch(int64_t index) {
  const auto sequences = static_cast<int64_t>(windows_.size());
  for (int64_t s = 0; s < sequences; ++s) training_.read(index * sequences + s, windows_[static_cast<size_t>(s)]);
  return packed();
}

void TokenFeed::nothing(Machine& machine, int64_t slot) {
  for (Window& window : windows_) window = {};
  write_batch(machine, packed(), slot);
}

const TokenBatch& TokenFeed::validation_batch(int64_t batch, int64_t windows) {
  const auto sequences = static_cast<int64_t>(windows_.size());
  for (int64_t s = 0; s < sequences; ++s) {
    Window& window = windows_[static_cast<size_t>(s)];
    const int64_t index = batch * sequences + s;
    if (index < windows) {
      validation_->read(index, window);
    } else {
      window = {};
    }
  }
  return packed();
}

int64_t TokenFeed::validation(Machine& machine, int64_t batch, int64_t windows) {
  write_batch(machine, validation_batch(batch, windows), 0);
  return bytes_of_targets();
}

int64_t TokenFeed::bytes_of_targets() const {
  const int32_t none = corpus_.tokenizer.end_of_text().value_or(-1);
  int64_t bytes = 0;
  for (const int32_t target : batch_.targets) {
    if (target >= 0 && target != none) bytes += static_cast<int64_t>(corpus_.tokenizer.bytes_of(target).size());
  }
  return bytes;
}

const TokenBatch& TokenFeed::packed() {
  pack(windows_, seq_len_, document_border(corpus_.tokenizer), batch_, documents_);
  return batch_;
}

}  // namespace centavo
