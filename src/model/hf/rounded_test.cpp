#include "model/hf/rounded.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/dtype.h"
#include "tests/support/models.h"

namespace centavo::testing {
namespace {

std::vector<float> floats_of(const ByteSource& source) {
  const std::vector<std::byte> all = bytes_of(source);
  std::vector<bf16> narrow(all.size() / sizeof(bf16));
  std::memcpy(narrow.data(), all.data(), all.size());
  return {narrow.begin(), narrow.end()};
}

// More than a piece of a ByteSource, in parts, one of which is memory and one is read.
TEST(Rounded, EveryElementOfEveryPart) {
  std::vector<float> wide((size_t{9} << 20) / sizeof(float));
  std::vector<float> expected;
  for (size_t i = 0; i < wide.size(); ++i) wide[i] = 1 + static_cast<float>(i) * 0x1p-18F;
  for (const float value : wide) expected.push_back(static_cast<float>(convert<bf16>(value)));
  ASSERT_NE(expected, wide);
  const auto bytes = std::as_bytes(std::span(wide));
  const size_t half = size_t{5} << 20;
  const ByteSource read(half, [bytes](size_t first, std::span<std::byte> to) {
    std::memcpy(to.data(), bytes.data() + first, to.size());
  });
  const ByteSource source = rounded_to_bf16({read, bytes.subspan(half, 12), bytes.subspan(half + 12)});
  ASSERT_EQ(source.size(), bytes.size() / 2);
  ASSERT_GT(source.size(), ByteSource::kPiece);
  EXPECT_EQ(floats_of(source), expected);
  const auto at = static_cast<std::ptrdiff_t>(half / sizeof(float) - 2);
  EXPECT_EQ(floats_of(source.part(static_cast<size_t>(2 * at), 14)),
            std::vector<float>(expected.begin() + at, expected.begin() + at + 7));
}

}  // namespace
}  // namespace centavo::testing
