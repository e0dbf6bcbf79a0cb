#include "data/tokenizer.h"

#include <xxhash.h>

#include <unordered_set>

#include "base/errors.h"

namespace centavo {
namespace {

void check_all_different(const std::vector<std::string>& tokens) {
  std::unordered_set<std::string_view> seen;
  seen.reserve(tokens.size());
  for (const std::string& token : tokens) CHECK(seen.insert(token).second, "two tokens of {} bytes", token.size());
}

}  // namespace

Tokenizer::Tokenizer(std::vector<Merge> merges, EndOfText end_of_text) : merges_(std::move(merges)) {
  const auto largest_count = static_cast<size_t>(kLargestVocabulary - kByteVocabulary - 1);
  CHECK(merges_.size() <= largest_count, "{} merges", merges_.size());
  bytes_.reserve(static_cast<size_t>(kByteVocabulary) + merges_.size() + 1);
  for (int64_t byte = 0; byte < kByteVocabulary; ++byte) bytes_.emplace_back(1, static_cast<char>(byte));
  for (const auto& [left, right] : merges_) {
    CHECK(left >= 0 && left < vocab_size() && right >= 0 && right < vocab_size(), "merge of {} and {}", left, right);
    bytes_.push_back(bytes_[static_cast<size_t>(left)] + bytes_[static_cast<size_t>(right)]);
  }
  if (end_of_text == EndOfText::last_id) {
    end_of_text_ = static_cast<int32_t>(vocab_size());
    bytes_.emplace_back(kEndOfText);
  }
  check_all_different(bytes_);
}

uint64_t Tokenizer::hash() const {
  const std::string text = json();
  return XXH3_64bits(text.data(), text.size());
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    CHECK(id >= 0 && id < vocab_size(), "id {} of {}", id, vocab_size());
    text += bytes_of(id);
  }
  return text;
}

}  // namespace centavo
