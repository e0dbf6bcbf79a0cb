#include <gtest/gtest.h>

#include "ops/normal/normal.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

Forward of(int64_t n, int64_t begin) {
  return [=](Builder& b) {
    const BufferId y = b.program.add({.name = "y", .dtype = b.compute(), .shape = {n}});
    normal(b, y, {.mean = 0.25, .deviation = 0.5}, {99, 12345}, begin);
  };
}

TEST(NormalCuda, EveryDtypeAndAwkwardSize) {
  NEEDS_GPU();
  for (const int64_t n : {1, 33, 1024, 40'001, 1 << 20}) {
    for (const int64_t begin : {int64_t{0}, int64_t{5'000'000'000}}) {
      // An ulp of the largest value at most: 2^-23 and 2^-8 of it.
      expect_cuda_close(of(n, begin), {}, DType::f32, {"y"}, 0x1p-22);
      expect_cuda_close(of(n, begin), {}, DType::bf16, {"y"}, 0x1p-8);
    }
  }
}

TEST(NormalCuda, Repeatable) {
  NEEDS_GPU();
  expect_cuda_repeatable(of(100'001, 3), {}, DType::bf16);
}

}  // namespace
}  // namespace centavo::testing
