#include "base/printable.h"

#include <gtest/gtest.h>

namespace centavo {
namespace {

TEST(Printable, ControlCharactersAreWrittenOut) {
  EXPECT_EQ(printable("a\x1b[2Jb\x7f\r"), "a\\x1b[2Jb\\x7f\\x0d");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(printable("a\n\tb"), "a\n\tb");
  EXPECT_EQ(printable("a\n\tb", Layout::one_line), "a\\x0a\\x09b");
}

// U+0080 to U+009F are controls, U+00A0 and what begins with another byte are not.
TEST(Printable, C1ControlsAreWrittenOut) {
  EXPECT_EQ(printable("\xc2\x80\xc2\x9b"
                      "31m\xc2\x9f"),
            "\\xc2\\x80\\xc2\\x9b31m\\xc2\\x9f");
  for (const char* harmless : {"\xc2\xa0", "\xc3\x9b", "\xe2\x80\x9b", "\xf0\x9f\x98\x80"}) {
    EXPECT_EQ(printable(harmless), harmless);
  }
}

TEST(Printable, WhatIsNoUtf8StaysAsItWas) {
  for (const char* odd : {"\xc2", "a\xc2", "\x9b", "\xc2\xc2\xa0", "\xc2z"}) EXPECT_EQ(printable(odd), odd);
  EXPECT_EQ(printable("\xc2\n", Layout::one_line), "\xc2\\x0a");
}

}  // namespace
}  // namespace centavo
