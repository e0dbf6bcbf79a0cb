#include "train/checkpoint_pieces.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/between_ranks.h"
#include "base/errors.h"
#include "base/json.h"

namespace centavo {
namespace {

using nlohmann::json;

constexpr int64_t kGrain = 64;  // elements

struct Range {
  int64_t rank = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

struct Holding {
  int64_t first_rank = 0;  // that named it
  DType dtype = DType::f32;
  Shape shape;
  std::vector<Range> ranges;
};

constexpr const char* kMend = "every rank must run the same program with the same settings";

std::string as_text(std::span<const StatePart> held) {
  json list = json::array();
  for (const StatePart& part : held) {
    CHECK(!part.tensor.empty() && part.tensor.find('@') == part.tensor.npos, "a tensor called '{}'", part.tensor);
    CHECK(part.bytes.size() == static_cast<size_t>((part.end - part.begin) * size_of(part.dtype)), "the bytes of {}",
          part.tensor);
    list.push_back({part.tensor, name_of(part.dtype), part.shape, part.begin, part.end});
  }
  return json_text(list);
}

// What one rank has told, added to what the lower ones have.
void add(std::map<std::string, Holding>& holdings, int64_t rank, const std::string& text) {
  for (const json& entry : parse_json(text)) {
    const auto name = entry[0].get<std::string>();
    DType dtype = DType::f32;
    CHECK(parse_dtype(entry[1].get<std::string>(), dtype), "{} of rank {}", name, rank);
    const auto shape = entry[2].get<Shape>();
    Holding& holding = holdings.try_emplace(name, Holding{rank, dtype, shape, {}}).first->second;
    if (holding.dtype != dtype || holding.shape != shape) {
      throw RankError(fmt::format("{} is {}{} on rank {} and {}{} on rank {}; {}", name, name_of(holding.dtype),
                                  to_string(holding.shape), holding.first_rank, name_of(dtype), to_string(shape), rank,
                                  kMend));
    }
    holding.ranges.push_back({rank, entry[3].get<int64_t>(), entry[4].get<int64_t>()});
  }
}

std::set<int64_t> holders_of(const Holding& holding, int64_t begin, int64_t end) {
  std::set<int64_t> holders;
  for (const Range& range : holding.ranges) {
    if (range.begin <= begin && end <= range.end) holders.insert(range.rank);
  }
  return holders;
}

void share_interval(const std::set<int64_t>& holders, int64_t begin, int64_t end, std::vector<Piece>& pieces) {
  const int64_t elements = end - begin;
  const auto count = static_cast<int64_t>(holders.size());
  const int64_t grains = (elements + kGrain - 1) / kGrain;
  const auto cut = [&](int64_t k) { return std::min(elements, (grains * k + count - 1) / count * kGrain); };
  int64_t k = 0;
  for (const int64_t rank : holders) {
    if (cut(k) < cut(k + 1)) pieces.push_back({rank, begin + cut(k), begin + cut(k + 1)});
    ++k;
  }
}

std::vector<Piece> share(const std::string& name, const Holding& holding) {
  std::set<int64_t> borders = {0, element_count(holding.shape)};
  for (const Range& range : holding.ranges) borders.insert({range.begin, range.end});
  std::vector<Piece> pieces;
  for (auto border = borders.begin(); std::next(border) != borders.end(); ++border) {
    const int64_t end = *std::next(border);
    const std::set<int64_t> holders = holders_of(holding, *border, end);
    if (holders.empty()) throw RankError(fmt::format("no rank holds {}[{}]; {}", name, *border, kMend));
    share_interval(holders, *border, end, pieces);
  }
  return pieces;
}

bool is_whole(const TensorPieces& tensor) { return tensor.pieces.size() == 1; }

}  // namespace

std::vector<TensorPieces> share_out(Communicator& communicator, std::span<const StatePart> held) {
  const std::vector<std::string> texts = all_gather_texts(communicator, as_text(held));
  std::map<std::string, Holding> holdings;
  for (size_t rank = 0; rank < texts.size(); ++rank) add(holdings, static_cast<int64_t>(rank), texts[rank]);
  std::vector<TensorPieces> tensors;
  tensors.reserve(holdings.size());
  for (const auto& [name, holding] : holdings) {
    tensors.push_back({name, holding.dtype, holding.shape, share(name, holding)});
  }
  return tensors;
}

std::string stored_name(const TensorPieces& tensor, const Piece& piece) {
  return is_whole(tensor) ? tensor.name : fmt::format("{}@{}", tensor.name, piece.begin);
}

Shape stored_shape(const TensorPieces& tensor, const Piece& piece) {
  return is_whole(tensor) ? tensor.shape : Shape{piece.end - piece.begin};
}

std::vector<TensorParts> pieces_of(int64_t writer, std::span<const TensorPieces> tensors,
                                   std::span<const StatePart> held) {
  std::multimap<std::string_view, const StatePart*> parts;
  for (const StatePart& part : held) parts.emplace(part.tensor, &part);
  std::vector<TensorParts> written;
  for (const TensorPieces& tensor : tensors) {
    for (const Piece& piece : tensor.pieces) {
      if (piece.writer != writer) continue;
      const auto [first, last] = parts.equal_range(tensor.name);
      const auto found = std::find_if(first, last, [&](const auto& entry) {
        return entry.second->begin <= piece.begin && piece.end <= entry.second->end;
      });
      CHECK(found != last, "rank {} does not hold {}[{}]", writer, tensor.name, piece.begin);
      const StatePart& part = *found->second;
      const int64_t size = size_of(part.dtype);
      written.push_back({stored_name(tensor, piece),
                         tensor.dtype,
                         stored_shape(tensor, piece),
                         {part.bytes.part(static_cast<size_t>((piece.begin - part.begin) * size),
                                          static_cast<size_t>((piece.end - piece.begin) * size))}});
    }
  }
  return written;
}

}  // namespace centavo
