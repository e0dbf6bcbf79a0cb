#include "train/draw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/errors.h"

namespace centavo {
namespace {

// Shares 0.1, 0.4, 0.2, 0.3 at temperature 1.
const std::vector<double> kLogits = {std::log(1.0), std::log(4.0), std::log(2.0), std::log(3.0)};

constexpr int kDraws = 10000;

// Shares of the tokens over an even grid of uniforms: exact to one draw each.
std::map<int32_t, double> shares(const DrawSettings& settings, const std::vector<double>& logits = kLogits) {
  std::map<int32_t, double> counts;
  for (int i = 0; i < kDraws; ++i) counts[draw(logits, settings, (i + 0.5) / kDraws)] += 1.0 / kDraws;
  return counts;
}

void expect_shares(const DrawSettings& settings, const std::map<int32_t, double>& expected) {
  const auto got = shares(settings);
  EXPECT_EQ(got.size(), expected.size());
  for (const auto& [token, share] : expected) {
    ASSERT_TRUE(got.contains(token)) << token;
    EXPECT_NEAR(got.at(token), share, 1.5 / kDraws) << token;
  }
}

TEST(Draw, FollowsTheSoftmax) {
  expect_shares({.temperature = 1}, {{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}});
  // at 1/2 the weights are squared: 1, 16, 4, 9 of 30
  expect_shares({.temperature = 0.5}, {{0, 1 / 30.0}, {1, 16 / 30.0}, {2, 4 / 30.0}, {3, 9 / 30.0}});
}

TEST(Draw, TopKKeepsTheLikeliest) {
  expect_shares({.temperature = 1, .top_k = 1}, {{1, 1}});
  expect_shares({.temperature = 1, .top_k = 2}, {{1, 4 / 7.0}, {3, 3 / 7.0}});
  expect_shares({.temperature = 1, .top_k = 3}, {{1, 4 / 9.0}, {2, 2 / 9.0}, {3, 3 / 9.0}});
  expect_shares({.temperature = 1, .top_k = 99}, {{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}});
}

TEST(Draw, TopPKeepsTheFewestThatReachIt) {
  expect_shares({.temperature = 1, .top_k = 0, .top_p = 1e-9}, {{1, 1}});
  expect_shares({.temperature = 1, .top_k = 0, .top_p = 0.39}, {{1, 1}});
  expect_shares({.temperature = 1, .top_k = 0, .top_p = 0.41}, {{1, 4 / 7.0}, {3, 3 / 7.0}});
  expect_shares({.temperature = 1, .top_k = 0, .top_p = 0.71}, {{1, 4 / 9.0}, {2, 2 / 9.0}, {3, 3 / 9.0}});
  expect_shares({.temperature = 1, .top_k = 0, .top_p = 0.999}, {{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}});
}

// Of the two tokens that top-k keeps the first has 4/7.
TEST(Draw, TopPCountsAmongWhatTopKKept) {
  expect_shares({.temperature = 1, .top_k = 2, .top_p = 0.5}, {{1, 1}});
  expect_shares({.temperature = 1, .top_k = 2, .top_p = 0.6}, {{1, 4 / 7.0}, {3, 3 / 7.0}});
}

TEST(Draw, ZeroTemperatureAndTopOneAreTheArgmax) {
  const std::vector<double> equal = {1, 7, 7, 3};
  for (const double uniform : {0.0, 0.5, 0.999999}) {
    EXPECT_EQ(draw(equal, {.temperature = 0}, uniform), 1);
    EXPECT_EQ(draw(equal, {.temperature = 2, .top_k = 1}, uniform), 1);
  }
}

TEST(Draw, ExtremesStayInside) {
  const double below_one = std::nextafter(1.0, 0.0);
  EXPECT_EQ(draw(kLogits, {.temperature = 1}, 0), 0);
  EXPECT_EQ(draw(kLogits, {.temperature = 1}, below_one), 3);
  const std::vector<double> far = {-5000, 0, -5000};  // the last underflows: it can never be drawn
  EXPECT_EQ(draw(far, {.temperature = 1}, below_one), 1);
  EXPECT_EQ(draw(far, {.temperature = 1e-300}, 0.5), 1);
  EXPECT_EQ(draw(std::vector<double>{3.0}, {.temperature = 1}, 0.5), 0);
}

TEST(Draw, RefusesSettingsThatMeanNothing) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(require_valid({.temperature = -0.1}), UserError);
  EXPECT_THROW(require_valid({.temperature = nan}), UserError);
  EXPECT_THROW(require_valid({.temperature = 1, .top_k = -1}), UserError);
  EXPECT_THROW(require_valid({.temperature = 1, .top_k = 0, .top_p = 0}), UserError);
  EXPECT_THROW(require_valid({.temperature = 1, .top_k = 0, .top_p = 1.1}), UserError);
  EXPECT_THROW(require_valid({.temperature = 1, .top_k = 0, .top_p = nan}), UserError);
  EXPECT_NO_THROW(require_valid({.temperature = 0, .top_k = 0, .top_p = 1}));
}

}  // namespace
}  // namespace centavo
