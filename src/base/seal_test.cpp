#include "base/seal.h"

#include <gtest/gtest.h>
#include <xxhash.h>

namespace centavo {
namespace {

TEST(Seal, AddsTheHashOfTheRest) {
  const std::string object = "{\n  \"a\": 1\n}\n";
  const std::string hash = hex64(XXH3_64bits(object.data(), object.size()));
  EXPECT_EQ(seal(object), "{\n  \"a\": 1,\n  \"self\": \"" + hash + "\"\n}\n");
  EXPECT_EQ(unseal(seal(object)), object);
}

TEST(Seal, EveryChangedByteIsFound) {
  const std::string sealed = seal("{\n  \"a\": 1,\n  \"b\": \"x\"\n}\n");
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string damaged = sealed;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_FALSE(unseal(damaged)) << i;
    EXPECT_FALSE(unseal(sealed.substr(0, i))) << i;
  }
}

TEST(Seal, HexIsExact) {
  EXPECT_EQ(hex64(0xfedcba9876543210), "fedcba9876543210");
  EXPECT_EQ(parse_hex64("00000000000000ff"), 255u);
  for (const char* bad : {"", "ff", "00000000000000FF", "000000000000000g", "-000000000000001", "000000000000000ff"}) {
    EXPECT_FALSE(parse_hex64(bad)) << bad;
  }
}

}  // namespace
}  // namespace centavo
