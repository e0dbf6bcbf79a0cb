#include "train/checkpoint_pieces.h"

#include <gtest/gtest.h>

#include <mutex>

#include "base/errors.h"
#include "machine/comm/self.h"
#include "machine/comm/threads.h"

namespace centavo {
namespace {

struct Held {
  std::string tensor;
  Shape shape;
  int64_t begin = 0;
  int64_t end = 0;
};

// Bytes of i32 elements; nobody looks at the values.
std::vector<StatePart> parts_of(const std::vector<Held>& held, const std::vector<int32_t>& memory) {
  std::vector<StatePart> parts;
  for (const Held& h : held) {
    const auto bytes = std::as_bytes(std::span(memory)).first(static_cast<size_t>(h.end - h.begin) * 4);
    parts.push_back({h.tensor, DType::i32, h.shape, h.begin, h.end, bytes});
  }
  return parts;
}

// What the ranks agree on; checks that they do.
std::vector<TensorPieces> shared(const std::vector<std::vector<Held>>& ranks) {
  const std::vector<int32_t> memory(4096);
  ThreadWorld world(static_cast<int64_t>(ranks.size()));
  std::vector<std::vector<TensorPieces>> results(ranks.size());
  world.run([&](Communicator& c) {
    const auto rank = static_cast<size_t>(c.rank());
    const std::vector<StatePart> parts = parts_of(ranks[rank], memory);
    results[rank] = share_out(c, parts);
    int64_t elements = 0;
    for (const TensorPieces& tensor : results[rank]) {
      for (const Piece& piece : tensor.pieces) elements += piece.writer == c.rank() ? piece.end - piece.begin : 0;
    }
    int64_t written = 0;
    for (const TensorParts& part : pieces_of(c.rank(), results[rank], parts)) written += element_count(part.shape);
    EXPECT_EQ(written, elements);
  });
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
  return results[0];
}

using Pieces = std::vector<Piece>;

TEST(CheckpointPieces, OneRankWritesWholeTensors) {
  const std::vector<TensorPieces> tensors = shared({{{"w", {8, 100}, 0, 800}, {"step", {1}, 0, 1}}});
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "step");
  EXPECT_EQ(tensors[1].pieces, (Pieces{{0, 0, 800}}));
  EXPECT_EQ(stored_name(tensors[1], tensors[1].pieces[0]), "w");
  EXPECT_EQ(stored_shape(tensors[1], tensors[1].pieces[0]), (Shape{8, 100}));
}

TEST(CheckpointPieces, HoldersOfTheSameShareIt) {
  const std::vector<Held> whole = {{"w", {10, 100}, 0, 1000}, {"step", {1}, 0, 1}, {"v", {65}, 0, 65}};
  const std::vector<TensorPieces> tensors = shared({whole, whole, whole});
  EXPECT_EQ(tensors[0].pieces, (Pieces{{0, 0, 1}}));                // step
  EXPECT_EQ(tensors[1].pieces, (Pieces{{0, 0, 64}, {1, 64, 65}}));  // v: two grains
  EXPECT_EQ(tensors[2].pieces, (Pieces{{0, 0, 384}, {1, 384, 704}, {2, 704, 1000}}));
  EXPECT_EQ(stored_name(tensors[2], tensors[2].pieces[1]), "w@384");
  EXPECT_EQ(stored_shape(tensors[2], tensors[2].pieces[1]), Shape{320});
}

TEST(CheckpointPieces, CutTensorsAreWrittenByTheirHolders) {
  const auto part = [](int64_t begin, int64_t end) { return std::vector<Held>{{"w", {300}, begin, end}}; };
  EXPECT_EQ(shared({part(0, 100), part(200, 300), part(100, 200)})[0].pieces,
            (Pieces{{0, 0, 100}, {2, 100, 200}, {1, 200, 300}}));
  // two replicas of two parts
  EXPECT_EQ(shared({part(0, 150), part(150, 300), part(0, 150), part(150, 300)})[0].pieces,
            (Pieces{{0, 0, 128}, {2, 128, 150}, {1, 150, 278}, {3, 278, 300}}));
  // borders that do not match
  EXPECT_EQ(shared({part(0, 200), part(100, 300)})[0].pieces,
            (Pieces{{0, 0, 100}, {0, 100, 164}, {1, 164, 200}, {1, 200, 300}}));
}

TEST(CheckpointPieces, RanksThatDisagreeAreNamed) {
  EXPECT_THROW(shared({{{"w", {300}, 0, 100}}, {{"w", {300}, 101, 300}}}), RankError);
  EXPECT_THROW(shared({{{"w", {300}, 0, 300}}, {{"w", {3, 100}, 0, 300}}}), RankError);
  EXPECT_THROW(shared({{{"w", {300}, 0, 299}}}), RankError);
}

}  // namespace
}  // namespace centavo
