#include "model/hf/transposed.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/models.h"

namespace centavo::testing {
namespace {

TEST(Transposed, EveryElementOfEveryPart) {
  // 5 rows of 3 in parts that end inside rows, read in pieces that begin and end inside rows
  std::vector<float> matrix(15);
  std::vector<float> expected;
  for (size_t i = 0; i < 15; ++i) matrix[i] = static_cast<float>(i);
  for (size_t column = 0; column < 3; ++column) {
    for (size_t row = 0; row < 5; ++row) expected.push_back(static_cast<float>(3 * row + column));
  }
  const auto bytes = std::as_bytes(std::span(matrix));
  const ByteSource source = transposed({bytes.first(28), bytes.subspan(28, 4), bytes.subspan(32)}, {5, 3}, DType::f32);
  ASSERT_EQ(source.size(), 60U);
  const auto floats_of = [](const ByteSource& part) {
    const std::vector<std::byte> all = bytes_of(part);
    std::vector<float> values(all.size() / 4);
    std::memcpy(values.data(), all.data(), all.size());
    return values;
  };
  EXPECT_EQ(floats_of(source), expected);
  for (size_t begin = 0; begin < 15; ++begin) {
    for (size_t end = begin + 1; end <= 15; ++end) {
      EXPECT_EQ(
          floats_of(source.part(4 * begin, 4 * (end - begin))),
          std::vector<float>(expected.begin() + static_cast<int>(begin), expected.begin() + static_cast<int>(end)));
    }
  }
}

// More than a piece of a ByteSource.
TEST(Transposed, ALargeMatrix) {
  const int64_t rows = 1200;
  const int64_t columns = 1100;
  std::vector<int32_t> matrix(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<int32_t>(i);
  const auto bytes = bytes_of(transposed({std::as_bytes(std::span(matrix))}, {rows, columns}, DType::i32));
  ASSERT_GT(bytes.size(), ByteSource::kPiece);
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) {
      int32_t value = 0;
      std::memcpy(&value, bytes.data() + (column * rows + row) * 4, 4);
      ASSERT_EQ(value, row * columns + column);
    }
  }
}

}  // namespace
}  // namespace centavo::testing
