#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace centavo {
namespace {

const std::string kBad = "\xef\xbf\xbd";

TEST(Utf8, WellFormedTextStays) {
  for (const std::string text :
       {"", "abc\n", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf", "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80"}) {
    EXPECT_EQ(to_utf8(text), text);
  }
  EXPECT_EQ(to_utf8(std::string("a\0b", 3)), std::string("a\0b", 3));
}

TEST(Utf8, EveryOtherByteIsReplaced) {
  struct Case {
    std::string bytes;
    size_t bad;
  };
  const std::vector<Case> cases = {
      {"\x80", 1},              // a continuation alone
      {"\xc0\xaf", 2},          // overlong
      {"\xc1\xbf", 2},          // overlong
      {"\xe0\x9f\xbf", 3},      // overlong
      {"\xed\xa0\x80", 3},      // a surrogate
      {"\xf0\x8f\xbf\xbf", 4},  // overlong
      {"\xf4\x90\x80\x80", 4},  // beyond U+10FFFF
      {"\xf5", 1},
      {"\xff", 1},
      {"\xe2\x82", 2},
  };
  for (const Case& c : cases) {
    std::string expected;
    for (size_t i = 0; i < c.bad; ++i) expected += kBad;
    EXPECT_EQ(to_utf8("a" + c.bytes + "b"), "a" + expected + "b");
    EXPECT_EQ(to_utf8(c.bytes), expected);
  }
}

}  // namespace
}  // namespace centavo
