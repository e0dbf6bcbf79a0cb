#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace centavo {
namespace {

Schedule schedule(Decay decay) {
  return {.decay = decay, .learning_rate = 2.0, .warmup_steps = 4, .min_lr_ratio = 0.1, .max_steps = 12};
}

TEST(Schedule, WarmsUpLinearlyToTheFullRate) {
  for (const Decay decay : {Decay::constant, Decay::linear, Decay::cosine, Decay::wsd}) {
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule(decay), 0), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule(decay), 1), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule(decay), 3), 2.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule(decay), 4), 2.0);
  }
}

TEST(Schedule, ConstantIgnoresTheFinalFraction) {
  for (const int64_t step : {4, 8, 11, 12, 1000}) EXPECT_EQ(learning_rate_at(schedule(Decay::constant), step), 2.0);
}

TEST(Schedule, LinearByHand) {
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule(Decay::linear), 8), 2.0 * (0.1 + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule(Decay::linear), 11), 2.0 * (0.1 + 0.9 / 8));
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule(Decay::linear), 12), 0.2);
}

TEST(Schedule, CosineByHand) {
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule(Decay::cosine), 8), 2.0 * (0.1 + 0.9 * 0.5));
  const double quarter = (1 + std::cos(std::numbers::pi / 4)) / 2;
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule(Decay::cosine), 6), 2.0 * (0.1 + 0.9 * quarter));
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule(Decay::cosine), 12), 0.2);
}

TEST(Schedule, WarmupStableDecayByHand) {
  Schedule s = schedule(Decay::wsd);
  s.decay_steps = 4;
  for (const int64_t step : {4, 7, 8}) EXPECT_EQ(learning_rate_at(s, step), 2.0) << step;
  EXPECT_DOUBLE_EQ(learning_rate_at(s, 9), 2.0 * (0.1 + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(learning_rate_at(s, 12), 0.2);
  Schedule longer = s;
  longer.max_steps = 1000;
  for (int64_t step = 0; step <= 8; ++step) EXPECT_EQ(learning_rate_at(s, step), learning_rate_at(longer, step));
  s.decay_steps = 0;  // a fifth of 12, rounded down
  EXPECT_EQ(learning_rate_at(s, 10), 2.0);
  EXPECT_LT(learning_rate_at(s, 11), 2.0);
  s.decay_steps = 100;  // cut to what the warm-up leaves
  EXPECT_EQ(learning_rate_at(s, 4), 2.0);
  EXPECT_LT(learning_rate_at(s, 5), 2.0);
}

TEST(Schedule, StaysAtTheFinalFractionAfterTheRun) {
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule(Decay::cosine), 1'000'000'000'000), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule(Decay::linear), 13), 0.2);
}

TEST(Schedule, NoWarmUpStartsAtTheFullRate) {
  Schedule s = schedule(Decay::cosine);
  s.warmup_steps = 0;
  EXPECT_EQ(learning_rate_at(s, 0), 2.0);
}

TEST(Schedule, WarmUpMayOutlastTheRun) {
  Schedule s = schedule(Decay::linear);
  s.max_steps = 2;
  EXPECT_DOUBLE_EQ(learning_rate_at(s, 1), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(s, 4), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(s, 5), 0.2);
}

TEST(Schedule, NeverRisesAfterWarmUp) {
  for (const Decay decay : {Decay::linear, Decay::cosine, Decay::wsd}) {
    for (int64_t step = 4; step < 20; ++step) {
      EXPECT_LE(learning_rate_at(schedule(decay), step + 1), learning_rate_at(schedule(decay), step)) << step;
    }
  }
}

TEST(Schedule, NamesFollowTheEnum) {
  EXPECT_EQ(decay_of("constant"), Decay::constant);
  EXPECT_EQ(decay_of("linear"), Decay::linear);
  EXPECT_EQ(decay_of("cosine"), Decay::cosine);
  EXPECT_EQ(decay_of("wsd"), Decay::wsd);
}

}  // namespace
}  // namespace centavo
