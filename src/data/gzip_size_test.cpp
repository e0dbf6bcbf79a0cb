#include "data/gzip_size.h"

#include <gtest/gtest.h>

#include <string>

namespace centavo {
namespace {

// An empty file of gzip has 20 bytes: 10 of header, 2 of deflate, 8 of trailer.
TEST(GzipSize, OfNothing) { EXPECT_EQ(gzip_bytes(""), 20); }

TEST(GzipSize, OfRepetitionAndNoise) {
  EXPECT_LT(gzip_bytes(std::string(1 << 20, 'a')), 2000);
  std::string noise;
  for (uint32_t state = 1; noise.size() < 100000;) {
    state = state * 1664525 + 1013904223;
    noise += static_cast<char>(state >> 24);
  }
  EXPECT_NEAR(static_cast<double>(gzip_bytes(noise)), 100000, 200);
}

}  // namespace
}  // namespace centavo
