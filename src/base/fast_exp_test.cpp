#include "base/fast_exp.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace centavo {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint32_t kNans[] = {0x7fc00000u, 0xffc00000u, 0x7fc00001u, 0xffffffffu};

// |value - exp(x)| in units of the last place of the float nearest to exp(x).
double error_ulp(float x, float value) {
  const double exact = std::exp(static_cast<double>(x));
  const float nearest = static_cast<float>(exact);
  const double ulp = static_cast<double>(std::nextafter(nearest, kInfinity)) - static_cast<double>(nearest);
  return std::abs(static_cast<double>(value) - exact) / ulp;
}

double error_ulp(float x) { return error_ulp(x, exp_fast(x)); }

double worst_error_ulp(float low, float high, int count) {
  double worst = 0;
  const double width = static_cast<double>(high) - static_cast<double>(low);
  for (int i = 0; i <= count; ++i) {
    const double x = static_cast<double>(low) + width * i / count;
    worst = std::max(worst, error_ulp(static_cast<float>(x)));
  }
  return worst;
}

TEST(FastExp, WithinTwoUlp) {
  EXPECT_LE(worst_error_ulp(-87.0f, 88.7f, 1'000'000), 2.0);
  EXPECT_LE(worst_error_ulp(-1.0f, 1.0f, 1'000'000), 2.0);
}

TEST(FastExp, WithinTwoUlpWhereTheResultIsSubnormal) { EXPECT_LE(worst_error_ulp(-104.0f, -87.0f, 100'000), 2.0); }

TEST(FastExp, SmallArguments) {
  float x = 1;
  while (x > 1e-40f) {
    EXPECT_LE(error_ulp(x), 2.0) << x;
    EXPECT_LE(error_ulp(-x), 2.0) << -x;
    x /= 3;
  }
}

TEST(FastExp, SpecialValues) {
  EXPECT_EQ(exp_fast(0.0f), 1.0f);
  EXPECT_EQ(exp_fast(-0.0f), 1.0f);
  EXPECT_EQ(exp_fast(-kInfinity), 0.0f);
  EXPECT_EQ(exp_fast(kInfinity), kInfinity);
  EXPECT_EQ(exp_fast(88.8f), kInfinity);
  EXPECT_EQ(exp_fast(-104.5f), 0.0f);
  EXPECT_EQ(exp_fast(std::numeric_limits<float>::lowest()), 0.0f);
  EXPECT_EQ(exp_fast(std::numeric_limits<float>::max()), kInfinity);
  EXPECT_TRUE(std::isnan(exp_fast(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exp_fast(-std::numeric_limits<float>::quiet_NaN())));
}

// The vectorised loop computes what the scalar call does.
TEST(FastExp, SameBitsInALoop) {
  std::array<float, 1027> x{};
  std::array<float, 1027> y{};
  for (size_t i = 0; i < x.size(); ++i) x[i] = -110.0f + 0.2f * static_cast<float>(i);
#pragma omp simd
  for (size_t i = 0; i < x.size(); ++i) y[i] = exp_fast(x[i]);
  for (size_t i = 0; i < x.size(); ++i) {
    volatile float single = x[i];
    EXPECT_EQ(y[i], exp_fast(single)) << x[i];
  }
}

TEST(FastExp, NonpositiveIsWithinTwoUlp) {
  for (int i = 0; i <= 1'000'000; ++i) {
    const float x = -104.0f * static_cast<float>(i) / 1e6f;
    ASSERT_LE(error_ulp(x, exp_nonpositive(x)), 2.0) << x;
  }
  EXPECT_EQ(exp_nonpositive(-0.0f), 1.0f);
  for (const float x : {-104.5f, -1e9f, std::numeric_limits<float>::lowest(), -kInfinity}) {
    EXPECT_EQ(exp_nonpositive(x), 0.0f) << x;
  }
  for (const uint32_t nan : kNans) EXPECT_TRUE(std::isnan(exp_nonpositive(std::bit_cast<float>(nan)))) << nan;
  EXPECT_EQ(exp_nonpositive(-1.25), std::exp(-1.25));
}

TEST(FastExp, FlushedIsWithinTwoUlpOrZero) {
  for (int i = 0; i <= 1'000'000; ++i) {
    const float x = -85.9f + 173.9f * static_cast<float>(i) / 1e6f;
    ASSERT_LE(error_ulp(x, exp_flushed(x)), 2.0) << x;
  }
  EXPECT_EQ(exp_flushed(0.0f), 1.0f);
  for (const float x : {-86.0f, -104.0f, -1e9f, std::numeric_limits<float>::lowest(), -kInfinity}) {
    EXPECT_EQ(exp_flushed(x), 0.0f) << x;
  }
  for (const uint32_t nan : kNans) EXPECT_TRUE(std::isnan(exp_flushed(std::bit_cast<float>(nan)))) << nan;
  EXPECT_EQ(exp_flushed(-1.25), std::exp(-1.25));
}

TEST(FastExp, BlendPicksASide) {
  EXPECT_EQ(blend(true, 1.5f, -2.0f), 1.5f);
  EXPECT_EQ(blend(false, kInfinity, -2.0f), -2.0f);
  EXPECT_EQ(blend(false, 1.5, -2.0), -2.0);
}

TEST(FastExp, DoubleIsStdExp) { EXPECT_EQ(exp_fast(1.25), std::exp(1.25)); }

}  // namespace
}  // namespace centavo
