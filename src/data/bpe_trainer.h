// Learns the merges of a byte-level BPE from the pieces of a text.
//
// The pair of tokens that stands side by side most often, over all pieces with their counts, becomes the next merge;
// among equals the pair with the smaller ids. Deterministic: only the counts matter, not the order of the text.
// Source: Sennrich et al., 2016.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "data/tokenizer.h"

namespace centavo {

// How often each piece (pretokenize.h) occurs. Bounded: beyond `most_pieces` distinct ones the rare ones are forgotten.
class PieceCounts {
 public:
  explicit PieceCounts(int64_t most_pieces);
  void add(std::string_view text);
  void merge(const PieceCounts& other);
  int64_t distinct() const;

  // In the order of their bytes.
  std::vector<std::pair<std::string_view, int64_t>> sorted() const;

 private:
  void forget_rare();
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const;
  };
  int64_t most_pieces_;
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> counts_;
};

// vocab_size 256 gives plain bytes; else 256 bytes, vocab_size - 257 merges and <|endoftext|>. UserError when
// vocab_size is below 256, or when the text has fewer pairs to merge than asked for, with the largest size it allows.
// `progress` is called with the number of merges learnt so far.
Tokenizer train_bpe(const PieceCounts& counts, int64_t vocab_size, const std::function<void(int64_t)>& progress = {});

}  // namespace centavo
