#include "data/permutation.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace centavo {
namespace {

std::vector<int64_t> image(int64_t n, uint64_t key, uint64_t stream) {
  std::vector<int64_t> result;
  for (int64_t i = 0; i < n; ++i) result.push_back(permuted(i, n, key, stream));
  return result;
}

TEST(Permutation, HitsEveryIndexOnce) {
  for (const int64_t n : {1, 2, 3, 4, 5, 16, 17, 31, 64, 65, 127, 1000, 4096, 4097}) {
    for (const uint64_t key : {0u, 1u, 12345u}) {
      std::vector<int> hits(static_cast<size_t>(n));
      for (const int64_t i : image(n, key, 7)) {
        ASSERT_GE(i, 0);
        ASSERT_LT(i, n);
        ++hits[static_cast<size_t>(i)];
      }
      EXPECT_EQ(hits, std::vector<int>(static_cast<size_t>(n), 1)) << "n " << n << " key " << key;
    }
  }
}

TEST(Permutation, KeyAndStreamPickDifferentOrders) {
  EXPECT_EQ(image(100, 1, 2), image(100, 1, 2));
  EXPECT_NE(image(100, 1, 2), image(100, 2, 2));
  EXPECT_NE(image(100, 1, 2), image(100, 1, 3));
}

TEST(Permutation, LargestRange) {
  const int64_t n = int64_t{1} << 62;
  EXPECT_LT(permuted(n - 1, n, 3, 4), n);
  EXPECT_NE(permuted(n - 1, n, 3, 4), permuted(n - 2, n, 3, 4));
  EXPECT_GE(permuted(INT64_MAX - 1, INT64_MAX, 3, 4), 0);
}

// Over many keys every index visits every place equally often: with 6000 draws over 6 places a count is binomial
// with mean 1000 and standard deviation 28.9, and 6 deviations are never left by chance.
TEST(Permutation, IsUniformOverKeys) {
  std::vector<std::vector<int>> counts(6, std::vector<int>(6));
  for (uint64_t key = 0; key < 6000; ++key) {
    for (int64_t i = 0; i < 6; ++i) ++counts[static_cast<size_t>(i)][static_cast<size_t>(permuted(i, 6, key, 0))];
  }
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, 1000, 174);
  }
}

}  // namespace
}  // namespace centavo
