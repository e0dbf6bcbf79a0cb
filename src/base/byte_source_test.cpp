#include "base/byte_source.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace centavo {
namespace {

std::vector<std::string> pieces_of(const ByteSource& source) {
  std::vector<std::string> pieces;
  source.stream([&](std::span<const std::byte> bytes) {
    pieces.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  return pieces;
}

ByteSource reading(const std::string& text) {
  return {text.size(), [&text](size_t first, std::span<std::byte> to) {
            ASSERT_LE(first + to.size(), text.size());
            std::memcpy(to.data(), text.data() + first, to.size());
          }};
}

TEST(ByteSource, MemoryIsHandedOnAsOne) {
  const std::string text = "abcdef";
  const ByteSource source{std::string_view(text)};
  const char* seen = nullptr;
  source.part(2, 3).stream(
      [&](std::span<const std::byte> bytes) { seen = reinterpret_cast<const char*>(bytes.data()); });
  EXPECT_EQ(seen, text.data() + 2) << "a copy";
  EXPECT_EQ(pieces_of(source.part(2, 3)), std::vector<std::string>{"cde"});
  EXPECT_EQ(pieces_of(source.part(1, 4).part(2, 2)), std::vector<std::string>{"de"});
}

TEST(ByteSource, OtherBytesComeInPieces) {
  std::string text(2 * ByteSource::kPiece + 5, 'a');
  for (size_t i = 0; i < text.size(); i += 1001) text[i] = static_cast<char>('b' + i % 20);
  const std::vector<std::string> pieces = pieces_of(reading(text));
  ASSERT_EQ(pieces.size(), 3U);
  EXPECT_EQ(pieces[0] + pieces[1] + pieces[2], text);
  const size_t first = ByteSource::kPiece - 3;
  EXPECT_EQ(pieces_of(reading(text).part(5, text.size() - 5).part(first - 5, 9)),
            std::vector<std::string>{text.substr(first, 9)});
}

TEST(ByteSource, NothingIsNoPiece) {
  const std::string text = "ab";
  EXPECT_EQ(pieces_of(ByteSource()), std::vector<std::string>());
  EXPECT_EQ(pieces_of(reading(text).part(2, 0)), std::vector<std::string>());
  EXPECT_EQ(ByteSource(std::string_view(text)).part(1, 1).size(), 1U);
}

TEST(ByteSourceDeathTest, PartsLieInside) { EXPECT_DEATH(ByteSource(std::string_view("ab")).part(1, 2), "of 2"); }

}  // namespace
}  // namespace centavo
