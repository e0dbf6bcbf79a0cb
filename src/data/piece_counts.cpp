#include <xxhash.h>

#include <algorithm>

#include "base/errors.h"
#include "data/bpe_trainer.h"
#include "data/pretokenize.h"

namespace centavo {
namespace {

constexpr int64_t kMostPieces = int64_t{1} << 23;
static_assert(kMostPieces * PieceCounts::kLongestPiece <= int64_t{1} << 31, "the trainer has 32-bit places");

bool continues_a_character(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Where to cut a piece that is too long: between two characters if it is UTF-8, which are at most four bytes.
size_t cut_of(std::string_view piece) {
  size_t cut = PieceCounts::kLongestPiece;
  while (cut > PieceCounts::kLongestPiece - 3 && continues_a_character(piece[cut])) --cut;
  return cut;
}

}  // namespace

size_t PieceCounts::Hash::operator()(std::string_view s) const { return XXH3_64bits(s.data(), s.size()); }

PieceCounts::PieceCounts(int64_t most_pieces) : most_pieces_(most_pieces) {
  CHECK(most_pieces >= 1 && most_pieces <= kMostPieces, "{} pieces", most_pieces);
}

void PieceCounts::add(std::string_view text) {
  while (true) {
    const size_t cut = text.find(kEndOfText);
    for_each_piece(text.substr(0, cut), [&](std::string_view piece) { count(piece); });
    if (cut == std::string_view::npos) return;
    text.remove_prefix(cut + kEndOfText.size());
  }
}

void PieceCounts::count(std::string_view piece) {
  while (piece.size() > kLongestPiece) {
    const size_t cut = cut_of(piece);
    bump(piece.substr(0, cut), 1);
    piece.remove_prefix(cut);
  }
  bump(piece, 1);
  if (distinct() > most_pieces_) forget_rare();
}

void PieceCounts::bump(std::string_view piece, int64_t times) {
  const auto found = counts_.find(piece);
  if (found != counts_.end()) {
    found->second += times;
  } else {
    counts_.emplace(piece, times);
  }
}

void PieceCounts::merge(const PieceCounts& other) {
  for (const auto& [piece, times] : other.counts_) bump(piece, times);
  if (distinct() > most_pieces_) forget_rare();
}

int64_t PieceCounts::distinct() const { return static_cast<int64_t>(counts_.size()); }

// At least half of the bound becomes free, or every piece of a text would come here.
void PieceCounts::forget_rare() {
  std::vector<int64_t> times;
  for (const auto& entry : counts_) times.push_back(entry.second);
  const auto kept = times.begin() + most_pieces_ / 2;
  std::nth_element(times.begin(), kept, times.end(), std::greater<>());
  std::erase_if(counts_, [&](const auto& entry) { return entry.second <= *kept; });
}

std::vector<std::pair<std::string_view, int64_t>> PieceCounts::sorted() const {
  std::vector<std::pair<std::string_view, int64_t>> pieces(counts_.begin(), counts_.end());
  std::sort(pieces.begin(), pieces.end());
  return pieces;
}

}  // namespace centavo
