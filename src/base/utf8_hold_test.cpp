#include "base/utf8_hold.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"
#include "base/utf8.h"

namespace centavo {
namespace {

const std::string kBad = "\xef\xbf\xbd";

TEST(Utf8Hold, HoldsBackTheBeginningOfACharacter) {
  Utf8Hold hold;
  EXPECT_EQ(hold.push("a\xe2"), "a");
  EXPECT_EQ(hold.push("\x82"), "");
  EXPECT_EQ(hold.push("\xac!"), "\xe2\x82\xac!");
  EXPECT_EQ(hold.push("\xf0\x9f\x98"), "");
  EXPECT_EQ(hold.push("\x80\xed"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(hold.push("\x9f\xbf"), "\xed\x9f\xbf");
  EXPECT_EQ(hold.finish(), "");
}

TEST(Utf8Hold, WhatCannotBecomeACharacterIsShownAtOnce) {
  Utf8Hold hold;
  EXPECT_EQ(hold.push("\x80"), kBad);
  EXPECT_EQ(hold.push("\xff"), kBad);
  EXPECT_EQ(hold.push("\xed\xa0"), kBad + kBad);  // a surrogate begins
  EXPECT_EQ(hold.push("\xe0"), "");
  EXPECT_EQ(hold.push("\x80"), kBad + kBad);  // overlong
  EXPECT_EQ(hold.push("\xe2\x82"), "");
  EXPECT_EQ(hold.push("a"), kBad + kBad + "a");
  EXPECT_EQ(hold.push("\xf4\x8f"), "");
  EXPECT_EQ(hold.finish(), kBad + kBad);
  EXPECT_EQ(hold.finish(), "");
}

// Every cut of every pair of difficult bytes says the same as the whole.
TEST(Utf8Hold, PiecesSayWhatTheWholeSays) {
  const std::string alphabet = "a\x80\x8f\x90\x9f\xa0\xbf\xc2\xe0\xe2\xed\xf0\xf1\xf4\xf5";
  const RandomStream random{1, 2};
  for (uint64_t trial = 0; trial < 3000; ++trial) {
    std::string bytes;
    std::string pieced;
    Utf8Hold hold;
    for (uint64_t i = 0; i < 12; ++i) {
      const uint32_t bits = random.bits(trial * 12 + i);
      std::string piece(1, alphabet[bits % alphabet.size()]);
      if (bits >> 31 != 0) piece += alphabet[(bits >> 8) % alphabet.size()];
      bytes += piece;
      pieced += hold.push(piece);
      ASSERT_EQ(to_utf8(bytes).substr(0, pieced.size()), pieced);
    }
    ASSERT_EQ(pieced + hold.finish(), to_utf8(bytes));
  }
}

}  // namespace
}  // namespace centavo
