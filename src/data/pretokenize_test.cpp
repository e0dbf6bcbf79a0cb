#include "data/pretokenize.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "base/rng.h"

namespace centavo {
namespace {

using Pieces = std::vector<std::string>;

Pieces pieces_of(std::string_view text) {
  Pieces pieces;
  for_each_piece(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

TEST(Pretokenize, WordsNumbersAndTheRestTakeTheSpaceBefore) {
  EXPECT_EQ(pieces_of("The 12 mills (at 3pm)..."), (Pieces{"The", " 12", " mills", " (", "at", " 3", "pm", ")..."}));
  EXPECT_EQ(pieces_of("a_b"), (Pieces{"a", "_", "b"}));
  EXPECT_EQ(pieces_of(""), Pieces{});
}

TEST(Pretokenize, Contractions) {
  EXPECT_EQ(pieces_of("don't we'll'd"), (Pieces{"don", "'t", " we", "'ll", "'d"}));
  EXPECT_EQ(pieces_of("'sage 'l 'S"), (Pieces{"'s", "age", " '", "l", " '", "S"}));
  EXPECT_EQ(pieces_of("''re"), (Pieces{"''", "re"}));
  EXPECT_EQ(pieces_of("'"), (Pieces{"'"}));
}

TEST(Pretokenize, ARunOfSpaceLeavesItsLastToWhatFollows) {
  EXPECT_EQ(pieces_of("a   b"), (Pieces{"a", "  ", " b"}));
  EXPECT_EQ(pieces_of("a\n\nb"), (Pieces{"a", "\n", "\n", "b"}));
  EXPECT_EQ(pieces_of("a \nb"), (Pieces{"a", " ", "\n", "b"}));
  EXPECT_EQ(pieces_of("a \n "), (Pieces{"a", " \n "}));
  EXPECT_EQ(pieces_of(" "), (Pieces{" "}));
  EXPECT_EQ(pieces_of("\u3000\u3000\u6f22"), (Pieces{"\u3000", "\u3000", "\u6f22"}));
}

TEST(Pretokenize, OtherScripts) {
  EXPECT_EQ(pieces_of("\u043c\u0435\u043b \u6c34\u8eca\u3002\u00bd"),
            (Pieces{"\u043c\u0435\u043b", " \u6c34\u8eca", "\u3002", "\u00bd"}));
  EXPECT_EQ(pieces_of("e\u0301a"), (Pieces{"e", "\u0301", "a"}));  // a combining mark is no letter
}

TEST(Pretokenize, BytesThatAreNoCharacterAreOfClassOther) {
  EXPECT_EQ(pieces_of("a\xff\x80!b"), (Pieces{"a", "\xff\x80!", "b"}));
  EXPECT_EQ(pieces_of("a\xc3"), (Pieces{"a", "\xc3"}));                                  // cut off
  EXPECT_EQ(pieces_of("\xc1\x81 \xe0\x81\x81"), (Pieces{"\xc1\x81", " \xe0\x81\x81"}));  // overlong A
  EXPECT_EQ(pieces_of("a\xed\xa0\x80z"), (Pieces{"a", "\xed\xa0\x80", "z"}));            // a surrogate
  EXPECT_EQ(pieces_of("a\xf4\x90\x80\x80z"), (Pieces{"a", "\xf4\x90\x80\x80", "z"}));
  EXPECT_EQ(pieces_of("\xe6\xb0z"), (Pieces{"\xe6\xb0", "z"}));
}

TEST(Pretokenize, PiecesEndToEndAreTheText) {
  for (uint64_t round = 0; round < 300; ++round) {
    std::string text;
    for (uint64_t i = 0; i < round; ++i) text += static_cast<char>(philox(5, i, round)[0]);
    std::string joined;
    for (const std::string& piece : pieces_of(text)) {
      EXPECT_FALSE(piece.empty());
      joined += piece;
    }
    EXPECT_EQ(joined, text);
  }
}

TEST(UnicodeClasses, AsManyAsUnicode16Has) {
  std::array<int, 4> counts{};
  for (char32_t c = 0; c < 0x110000; ++c) ++counts[static_cast<size_t>(class_of(c))];
  EXPECT_EQ(counts, (std::array<int, 4>{141028, 1911, 25, 971148}));
  EXPECT_EQ(class_of(0xFFFFFFFF), CharClass::other);
  for (char32_t c = 0; c < 0x80; ++c) EXPECT_EQ(class_of(c), ascii_class(static_cast<char>(c)));
}

}  // namespace
}  // namespace centavo
