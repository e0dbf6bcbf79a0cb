#include "data/bpe_trainer.h"

#include <algorithm>
#include <optional>
#include <queue>
#include <unordered_set>
#include <vector>

#include "base/errors.h"

namespace centavo {
namespace {

using Merge = Tokenizer::Merge;
using Place = uint32_t;  // of a byte, in all pieces end to end
constexpr int32_t kGone = -1;

struct MergeHash {
  size_t operator()(const Merge& pair) const {
    const uint64_t packed = uint64_t{static_cast<uint32_t>(pair.first)} << 32 | static_cast<uint32_t>(pair.second);
    return packed * 0x9E3779B97F4A7C15 >> 20;
  }
};

// Where a pair stands: the places of its left tokens, ascending. Some no longer hold it; `count` knows of those that
// do.
struct Occurrences {
  int64_t count = 0;
  std::vector<Place> places;
};

struct Candidate {
  int64_t count;
  Merge pair;

  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Trainer {
 public:
  explicit Trainer(const PieceCounts& counts);
  // Joins the most frequent pair everywhere; nothing when no pair is left.
  std::optional<Merge> next();

 private:
  void lay_out(std::string_view piece, int64_t count);
  void count_initial_pairs();
  std::optional<Merge> most_frequent();
  void join(const Merge& pair, int32_t id);
  void join_at(Place left, Place right, int32_t id);
  bool same_piece(Place a, size_t b) const { return b < piece_of_.size() && piece_of_[a] == piece_of_[b]; }
  uint32_t length(int32_t token) const { return static_cast<uint32_t>(tokens_[static_cast<size_t>(token)].size()); }
  void gain(Merge pair, int64_t count, Place place);
  void lose(Merge pair, int64_t count);

  std::vector<std::string> tokens_;
  std::unordered_set<std::string> known_;
  std::vector<int64_t> weights_;    // of each piece
  std::vector<uint32_t> piece_of_;  // by place, as the next two
  std::vector<int32_t> starts_;     // the token that starts there, or kGone
  std::vector<int32_t> ends_;       // the token that ends there, while it lives
  std::unordered_map<Merge, Occurrences, MergeHash> pairs_;
  // Counts only fall once a pair is here: an entry is an upper bound, put right when it comes out.
  std::priority_queue<Candidate> candidates_;
  std::vector<Merge> born_;  // pairs the merge at work has made
};

Trainer::Trainer(const PieceCounts& counts) {
  for (int byte = 0; byte < kByteVocabulary; ++byte) tokens_.emplace_back(1, static_cast<char>(byte));
  for (const auto& [piece, count] : counts.sorted()) lay_out(piece, count);
  count_initial_pairs();
}

void Trainer::lay_out(std::string_view piece, int64_t count) {
  piece_of_.insert(piece_of_.end(), piece.size(), static_cast<uint32_t>(weights_.size()));
  weights_.push_back(count);
  for (const char byte : piece) starts_.push_back(static_cast<uint8_t>(byte));
}

void Trainer::count_initial_pairs() {
  ends_ = starts_;
  for (size_t place = 0; place + 1 < starts_.size(); ++place) {
    const auto at = static_cast<Place>(place);
    if (same_piece(at, place + 1)) gain({starts_[place], starts_[place + 1]}, weights_[piece_of_[place]], at);
  }
  for (const Merge& pair : born_) candidates_.push({pairs_[pair].count, pair});
}

void Trainer::gain(Merge pair, int64_t count, Place place) {
  const auto [entry, is_new] = pairs_.try_emplace(pair);
  if (is_new) born_.push_back(pair);
  entry->second.count += count;
  entry->second.places.push_back(place);
}

// A pair that is not there is the one being joined, or was passed over.
void Trainer::lose(Merge pair, int64_t count) {
  const auto entry = pairs_.find(pair);
  if (entry == pairs_.end()) return;
  entry->second.count -= count;
  if (entry->second.count == 0) pairs_.erase(entry);
}

std::optional<Merge> Trainer::most_frequent() {
  while (!candidates_.empty()) {
    const Candidate top = candidates_.top();
    candidates_.pop();
    const auto entry = pairs_.find(top.pair);
    if (entry == pairs_.end()) continue;
    if (entry->second.count == top.count) return top.pair;
    candidates_.push({entry->second.count, top.pair});
  }
  return std::nullopt;
}

std::optional<Merge> Trainer::next() {
  while (const std::optional<Merge> pair = most_frequent()) {
    std::string bytes = tokens_[static_cast<size_t>(pair->first)] + tokens_[static_cast<size_t>(pair->second)];
    if (known_.insert(bytes).second) {
      tokens_.push_back(std::move(bytes));
      join(*pair, static_cast<int32_t>(tokens_.size()) - 1);
      return pair;
    }
    pairs_.erase(*pair);
  }
  return std::nullopt;
}

void Trainer::join(const Merge& pair, int32_t id) {
  born_.clear();
  const std::vector<Place> places = std::move(pairs_.at(pair).places);
  pairs_.erase(pair);
  for (const Place left : places) {
    const size_t right = size_t{left} + length(pair.first);
    const bool stands_there = starts_[left] == pair.first && same_piece(left, right) && starts_[right] == pair.second;
    if (stands_there) join_at(left, static_cast<Place>(right), id);
  }
  for (const Merge& made : born_) {
    const auto entry = pairs_.find(made);
    if (entry != pairs_.end()) candidates_.push({entry->second.count, made});
  }
}

void Trainer::join_at(Place left, Place right, int32_t id) {
  const int64_t count = weights_[piece_of_[left]];
  const Place behind = right + length(starts_[right]);
  if (left > 0 && same_piece(left, left - 1)) {
    const int32_t before = ends_[left - 1];
    lose({before, starts_[left]}, count);
    gain({before, id}, count, left - length(before));
  }
  if (same_piece(left, behind)) {
    lose({starts_[right], starts_[behind]}, count);
    gain({id, starts_[behind]}, count, left);
  }
  starts_[left] = id;
  starts_[right] = kGone;
  ends_[behind - 1] = id;
}

void check_size(int64_t vocab_size) {
  if (vocab_size < kByteVocabulary || vocab_size > kLargestVocabulary) {
    user_error("the vocabulary size is {}; give one from {}, which is plain bytes, to {}", vocab_size, kByteVocabulary,
               kLargestVocabulary);
  }
}

}  // namespace

Tokenizer train_bpe(const PieceCounts& counts, int64_t vocab_size, const std::function<void(int64_t)>& progress) {
  check_size(vocab_size);
  if (vocab_size == kByteVocabulary) return Tokenizer();
  const int64_t wanted = vocab_size - kByteVocabulary - 1;
  Trainer trainer(counts);
  std::vector<Merge> merges;
  while (static_cast<int64_t>(merges.size()) < wanted) {
    const std::optional<Merge> merge = trainer.next();
    if (!merge) {
      user_error(
          "the text has too few pairs of tokens for a vocabulary of {}; the largest it allows is {}: "
          "choose that or less, or give more text",
          vocab_size, kByteVocabulary + 1 + static_cast<int64_t>(merges.size()));
    }
    merges.push_back(*merge);
    if (progress) progress(static_cast<int64_t>(merges.size()));
  }
  return Tokenizer(std::move(merges), EndOfText::last_id);
}

}  // namespace centavo
