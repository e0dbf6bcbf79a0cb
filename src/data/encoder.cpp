#include <array>

#include "data/merge_table.h"
#include "data/piece_cache.h"
#include "data/piece_merger.h"
#include "data/pretokenize.h"
#include "data/tokenizer.h"

namespace centavo {
namespace {

constexpr size_t kBufferIds = 4096;
static_assert(kBufferIds > 2 * PieceCache::kLongestPiece);

}  // namespace

struct Encoder::State {
  explicit State(const Tokenizer& tokenizer)
      : end_of_text(tokenizer.end_of_text()), has_merges(!tokenizer.merges().empty()), merger(tokenizer.merges()) {}

  void encode_pieces(std::string_view text, std::vector<int32_t>& ids);
  int32_t* encode_short(std::string_view piece, const char* readable_end, int32_t* to);

  std::optional<int32_t> end_of_text;
  bool has_merges;
  PieceMerger merger;
  PieceCache cache;
  std::array<int32_t, kBufferIds> buffer;
};

int32_t* Encoder::State::encode_short(std::string_view piece, const char* readable_end, int32_t* to) {
  const PieceCache::Key key = PieceCache::key_of(piece, readable_end);
  int32_t* stop = cache.find(key, piece, to);
  if (stop != nullptr) return stop;
  stop = merger.merge(piece, to);
  cache.insert(key, piece, {to, stop});
  return stop;
}

// Ids are gathered in the buffer: growing the vector piece by piece costs more than the look-up.
void Encoder::State::encode_pieces(std::string_view text, std::vector<int32_t>& ids) {
  const char* const end = text.data() + text.size();
  int32_t* to = buffer.data();
  int32_t* const full = buffer.data() + kBufferIds - PieceCache::kLongestPiece;
  const auto flush = [&] {
    ids.insert(ids.end(), buffer.data(), to);
    to = buffer.data();
  };
  for_each_piece(text, [&](std::string_view piece) {
    if (piece.size() <= PieceCache::kLongestPiece) {
      to = encode_short(piece, end, to);
      if (to >= full) flush();
    } else {
      flush();
      merger.merge_long(piece, ids);
    }
  });
  flush();
}

Encoder::Encoder(const Tokenizer& tokenizer) : state_(std::make_unique<State>(tokenizer)) {}
Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;

void Encoder::encode(std::string_view text, std::vector<int32_t>& ids) {
  while (!text.empty()) {
    const size_t cut = state_->end_of_text ? text.find(kEndOfText) : std::string_view::npos;
    const std::string_view part = text.substr(0, cut);
    if (state_->has_merges) {
      state_->encode_pieces(part, ids);
    } else {
      const auto* bytes = reinterpret_cast<const uint8_t*>(part.data());
      ids.insert(ids.end(), bytes, bytes + part.size());
    }
    if (cut == std::string_view::npos) return;
    ids.push_back(*state_->end_of_text);
    text.remove_prefix(cut + kEndOfText.size());
  }
}

}  // namespace centavo
