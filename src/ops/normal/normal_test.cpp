#include "ops/normal/normal.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

constexpr RandomStream kRandom = {7, 0xfedcba9876543210u};

Forward of(int64_t n, const NormalLaw& law, int64_t begin = 0) {
  return [=](Builder& b) {
    const BufferId y = b.program.add({.name = "y", .dtype = b.compute(), .shape = {n}});
    normal(b, y, law, kRandom, begin);
  };
}

std::vector<double> drawn(int64_t n, const NormalLaw& law, int64_t begin = 0, DType dtype = DType::f32) {
  return run_step(build(of(n, law, begin), dtype), {}).at("y");
}

TEST(Normal, IsThatOfTheStream) {
  const auto y = drawn(10'000, {.mean = 1, .deviation = 0.5});
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], static_cast<float>(1 + 0.5 * kRandom.normal(i)));
}

TEST(Normal, HasItsMeanAndDeviation) {
  constexpr int64_t kCount = 1 << 18;
  double sum = 0;
  double squares = 0;
  for (const double y : drawn(kCount, {.mean = -3, .deviation = 2})) {
    sum += y;
    squares += (y + 3) * (y + 3);
  }
  // Five standard errors: 2 / sqrt(n), and 4 sqrt(2 / n) of the variance.
  const double root = std::sqrt(static_cast<double>(kCount));
  EXPECT_NEAR(sum / kCount, -3, 5 * 2 / root);
  EXPECT_NEAR(squares / kCount, 4, 5 * 4 * std::sqrt(2.0) / root);
}

TEST(Normal, APartIsThatOfTheWhole) {
  const auto whole = drawn(5000, {});
  EXPECT_EQ(drawn(1234, {}, 777), std::vector<double>(whole.begin() + 777, whole.begin() + 777 + 1234));
}

TEST(Normal, IsRounded) {
  const auto exact = drawn(1000, {});
  const auto rounded = drawn(1000, {}, 0, DType::bf16);
  for (size_t i = 0; i < exact.size(); ++i) {
    EXPECT_EQ(rounded[i], static_cast<double>(convert<float>(convert<bf16>(static_cast<float>(exact[i])))));
  }
}

TEST(Normal, WithoutDeviationIsTheMean) { EXPECT_EQ(drawn(3, {1.5, 0}), (std::vector<double>{1.5, 1.5, 1.5})); }

TEST(Normal, Rejects) {
  expect_shape_error(of(4, {.mean = 0, .deviation = -1}), "the deviation is -1; it must be at least 0");
  expect_shape_error(of(4, {}, -1), "begin is -1; it must be at least 0");
}

}  // namespace
}  // namespace centavo::testing
