// Learns the merges of a byte-level BPE from the pieces of a text.
//
// The pair of tokens that stands side by side most often, over all pieces with their counts, becomes the next merge;
// among equals the pair with the smaller ids. A pair whose bytes are a token already is passed over, so that every
// token is its own bytes. Deterministic: only the counts matter, not the order of the text. Source: Sennrich et al.,
// 2016.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "data/tokenizer.h"

namespace centavo {

// How often each piece (pretokenize.h) occurs in texts; every literal <|endoftext|> cuts and is not counted. Pieces
// above kLongestPiece bytes are counted in parts of that length, so that no base64 blob is a word. Bounded: beyond
// `most_pieces` distinct ones, at most 2^23, those not above the median are forgotten.
class PieceCounts {
 public:
  static constexpr int64_t kLongestPiece = 256;

  explicit PieceCounts(int64_t most_pieces);
  void add(std::string_view text);
  void merge(const PieceCounts& other);
  int64_t distinct() const;

  // In the order of their bytes. The views live as long as nothing is added.
  std::vector<std::pair<std::string_view, int64_t>> sorted() const;

 private:
  void count(std::string_view piece);  // cut where it is too long
  void bump(std::string_view piece, int64_t times);
  void forget_rare();
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const;
  };
  int64_t most_pieces_;
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> counts_;
};

// vocab_size 256 gives plain bytes; else 256 bytes, vocab_size - 257 merges and <|endoftext|>. UserError when
// vocab_size is below 256 or above kLargestVocabulary, or when the text has fewer pairs to merge than asked for, with
// the largest size it allows. `progress` is called after each merge with the number learnt so far.
Tokenizer train_bpe(const PieceCounts& counts, int64_t vocab_size, const std::function<void(int64_t)>& progress = {});

}  // namespace centavo
