#include "train/step_sampler.h"

#include <gtest/gtest.h>

#include "tests/support/programs_by_hand.h"

namespace centavo::testing {
namespace {

Program small_program() { return program_by_hand("section micro\n  %1 b = copy(a)\n  %2 c = copy(b)\nstep micro*2\n"); }

constexpr double kSecondsToPrepare = 100;  // a timed step

// Runs a step as a machine would; was it timed?
bool run_step(StepSampler& sampler, const Program& program, double seconds) {
  const bool timed = sampler.samples_next();
  if (timed) sampler.sampled(walk(program, LaneModel::one_lane, [&](const OpView&) { return seconds / 4; }));
  sampler.step_ended(timed ? seconds + kSecondsToPrepare : seconds);
  return timed;
}

TEST(StepSampler, SamplesThreeStepsAfterTheWarmUp) {
  const Program program = small_program();
  StepSampler sampler({.compare = true, .trace_step = {}}, 8);
  std::vector<bool> sampled;
  for (int step = 1; step <= 8; ++step) {
    sampled.push_back(run_step(sampler, program, step));
    EXPECT_EQ(sampler.typical() != nullptr, step >= 3);
    EXPECT_EQ(sampler.to_trace(), nullptr);
  }
  EXPECT_EQ(sampled, (std::vector<bool>{false, false, true, true, true, false, false, false}));
  EXPECT_EQ(sampler.mean_step_seconds(), (6 + 7 + 8) / 3.0);
  const std::vector<Span>& spans = *sampler.typical();
  ASSERT_EQ(spans.size(), 4U);
  EXPECT_EQ(spans[3].end, 4) << "the median of 3, 4 and 5 seconds";
}

TEST(StepSampler, AShortRunIsAsLongAsItsOps) {
  const Program program = small_program();
  StepSampler sampler({.compare = true, .trace_step = {}}, 4);
  EXPECT_EQ(sampler.mean_step_seconds(), 0);
  for (int step = 1; step <= 4; ++step) run_step(sampler, program, step);
  EXPECT_EQ(sampler.mean_step_seconds(), (3 + 4) / 2.0);
}

TEST(StepSampler, SamplesTheStepOfTheTrace) {
  const Program program = small_program();
  for (const auto& [wanted, steps, sampled] : {std::tuple(2, 4, 2), std::tuple(5, 4, 4)}) {
    StepSampler sampler({.compare = false, .trace_step = wanted}, steps);
    for (int step = 1; step <= steps; ++step) {
      EXPECT_EQ(run_step(sampler, program, 1), step == sampled) << step;
      EXPECT_EQ(sampler.to_trace() != nullptr, step == sampled) << step;
    }
    EXPECT_EQ(sampler.typical(), nullptr);
  }
}

TEST(StepSampler, WithoutAWishTimesNothing) {
  const Program program = small_program();
  StepSampler sampler({}, 8);
  for (int step = 1; step <= 8; ++step) EXPECT_FALSE(run_step(sampler, program, 1));
}

}  // namespace
}  // namespace centavo::testing
