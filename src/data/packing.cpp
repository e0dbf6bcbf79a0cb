#include "data/packing.h"

#include <algorithm>

#include "base/errors.h"

namespace centavo {
namespace {

// Writes one window into its rows of the batch.
class WindowPacker {
 public:
  WindowPacker(const Window& window, int64_t seq_len, int64_t row, TokenBatch& batch)
      : window_(window),
        filled_(std::min<int64_t>(static_cast<int64_t>(window.tokens.size()), seq_len)),
        targets_(std::max<int64_t>(static_cast<int64_t>(window.tokens.size()) - 1, 0)),
        tokens_(rows(batch.tokens, row, seq_len)),
        targets_out_(rows(batch.targets, row, seq_len)),
        positions_(rows(batch.positions, row, seq_len)) {
    CHECK(targets_ <= seq_len, "{} tokens in a window of {}", window.tokens.size(), seq_len);
  }

  void write_tokens() {
    std::copy_n(window_.tokens.begin(), filled_, tokens_.begin());
    std::fill(tokens_.begin() + filled_, tokens_.end(), 0);
  }

  void write_targets(DocumentBorder border) {
    const int64_t first = std::clamp<int64_t>(window_.first_target, 0, targets_);
    std::ranges::fill(targets_out_, -1);
    if (targets_ == 0) return;
    std::copy(window_.tokens.begin() + 1 + first, window_.tokens.begin() + 1 + targets_, targets_out_.begin() + first);
    if (border == DocumentBorder::predicted) return;
    for (const int64_t start : window_.starts) {
      if (start > 0 && start <= targets_) targets_out_[static_cast<size_t>(start - 1)] = -1;
    }
  }

  void count_through() { count_from(0, static_cast<int64_t>(positions_.size())); }

  // Calls begin(t) for each document's first token.
  template <class F>
  void write_positions(const F& begin) {
    int64_t document = -1;
    const auto begins = [&](int64_t t) {
      if (t == document || t >= static_cast<int64_t>(positions_.size())) return;
      count_from(document, t);
      document = t;
      begin(t);
    };
    begins(0);
    for (const int64_t start : window_.starts) {
      if (start < filled_) begins(start);
    }
    begins(filled_);
    count_from(document, static_cast<int64_t>(positions_.size()));
  }

 private:
  static std::span<int32_t> rows(std::vector<int32_t>& all, int64_t row, int64_t count) {
    return std::span(all).subspan(static_cast<size_t>(row), static_cast<size_t>(count));
  }
  void count_from(int64_t begin, int64_t end) {
    for (int64_t t = std::max<int64_t>(begin, 0); t < end; ++t) {
      positions_[static_cast<size_t>(t)] = static_cast<int32_t>(t - begin);
    }
  }

  const Window& window_;
  int64_t filled_;   // tokens that are inputs
  int64_t targets_;  // targets the window has
  std::span<int32_t> tokens_, targets_out_, positions_;
};

}  // namespace

DocumentBorder document_border(const Tokenizer& tokenizer) {
  return tokenizer.end_of_text() ? DocumentBorder::predicted : DocumentBorder::masked;
}

void pack(std::span<const Window> windows, int64_t seq_len, DocumentBorder border, TokenBatch& batch,
          Documents documents) {
  const size_t total = windows.size() * static_cast<size_t>(seq_len);
  for (std::vector<int32_t>* values : {&batch.tokens, &batch.targets, &batch.positions}) values->resize(total);
  const bool joined = documents == Documents::joined;
  batch.cu_seqlens.assign((joined ? windows.size() : total) + 1, static_cast<int32_t>(total));
  size_t begun = 0;
  for (size_t w = 0; w < windows.size(); ++w) {
    const int64_t row = static_cast<int64_t>(w) * seq_len;
    WindowPacker packer(windows[w], seq_len, row, batch);
    packer.write_tokens();
    packer.write_targets(border);
    const auto begin = [&](int64_t t) { batch.cu_seqlens[begun++] = static_cast<int32_t>(row + t); };
    if (joined) {
      packer.count_through();
      begin(0);
    } else {
      packer.write_positions(begin);
    }
  }
}

}  // namespace centavo
