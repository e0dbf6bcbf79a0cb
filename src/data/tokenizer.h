// Byte-level byte-pair encoding: text to token ids and back.
//
//   ids 0..255            the bytes
//   256..255 + M          merge i of the M merges: the bytes of its two parts end to end
//   256 + M               <|endoftext|>, when there is one
//
// Encoding cuts a text at every literal <|endoftext|>, each of which is that token; cuts what lies between into pieces
// (pretokenize.h), and in each piece joins the neighbouring pair with the lowest merge number, the leftmost first,
// until none is left. A vocabulary of 256 has no merges and no such token: its ids are the bytes.
//
// On disk: the `tokenizer.json` of the Hugging Face `tokenizers` library (pre-tokenizer and decoder ByteLevel, model
// BPE), which encodes every valid UTF-8 text to the same ids. Source: Sennrich et al., "Neural Machine Translation of
// Rare Words with Subword Units", 2016; Radford et al., 2019 (bytes).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace centavo {

inline constexpr int64_t kByteVocabulary = 256;
inline constexpr int64_t kLargestVocabulary = int64_t{1} << 21;
inline constexpr std::string_view kEndOfText = "<|endoftext|>";

enum class EndOfText : uint8_t { absent, last_id };

class Tokenizer {
 public:
  using Merge = std::pair<int32_t, int32_t>;

  // CHECKs that the parts of each merge are defined before it, that no two tokens are the same bytes, and that they are
  // at most kLargestVocabulary.
  explicit Tokenizer(std::vector<Merge> merges = {}, EndOfText end_of_text = EndOfText::absent);

  // Reads a tokenizer.json. UserError when it is damaged, or is not a byte-level BPE this class can say (another
  // pre-tokenizer, normalizer, model or added tokens), naming the file, the key and the value.
  static Tokenizer read(const std::string& path);
  // The text of its tokenizer.json; equal tokenizers give equal bytes.
  std::string json() const;

  int64_t vocab_size() const { return static_cast<int64_t>(bytes_.size()); }
  std::optional<int32_t> end_of_text() const { return end_of_text_; }
  const std::vector<Merge>& merges() const { return merges_; }
  // What the token stands for; <|endoftext|> stands for its own name.
  std::string_view bytes_of(int32_t id) const { return bytes_[static_cast<size_t>(id)]; }
  // XXH3-64 of json().
  uint64_t hash() const;

  std::string decode(std::span<const int32_t> ids) const;

 private:
  std::vector<Merge> merges_;
  std::optional<int32_t> end_of_text_;
  std::vector<std::string> bytes_;
};

// Encodes with a memory of pieces seen, bounded to some MiB. One per thread; the tokenizer must outlive it.
class Encoder {
 public:
  explicit Encoder(const Tokenizer& tokenizer);
  ~Encoder();
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;

  // Appends the ids of `text`. Any bytes are encoded; what is not UTF-8 is taken byte by byte. Takes O(n log n) for n
  // bytes whatever they are. A piece above 1 GiB is encoded GiB by GiB.
  void encode(std::string_view text, std::vector<int32_t>& ids);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace centavo
