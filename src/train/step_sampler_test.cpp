#include "train/step_sampler.h"

#include <gtest/gtest.h>

#include "base/errors.h"
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

// A machine that has no memory for timing, or has it.
class StepCounter : public Machine {
 public:
  explicit StepCounter(bool can_time) : program_(small_program()), can_time_(can_time) {}

  const Program& program() const override { return program_; }
  void step(const OpObserver& = {}) override { ++plain; }
  std::vector<Span> timed_step() override {
    ++timed;
    return walk(program_, LaneModel::one_lane, [](const OpView&) { return 1.0; });
  }
  void prepare_timed_step() override {
    if (!can_time_) throw DeviceError("making a graph of a section: out of memory");
  }
  void write(const std::string&, std::span<const std::byte>, int64_t) override {}
  void read(const std::string&, std::span<std::byte>, int64_t) const override {}
  void write_elements(const std::string&, int64_t, std::span<const std::byte>) override {}
  void read_elements(const std::string&, int64_t, std::span<std::byte>) const override {}
  void run_once(Program, const OpTable&) override {}

  int plain = 0;
  int timed = 0;

 private:
  Program program_;
  bool can_time_;
};

std::vector<std::string> troubles_of(StepCounter& machine, StepSampler& sampler, int steps) {
  std::vector<std::string> troubles;
  for (int step = 1; step <= steps; ++step) {
    if (std::string trouble = centavo::run_step(machine, sampler); !trouble.empty()) troubles.push_back(trouble);
    sampler.step_ended(step);
  }
  return troubles;
}

TEST(RunStep, TimesTheStepsThatAreSampled) {
  StepCounter machine(true);
  StepSampler sampler({.compare = true, .trace_step = {}}, 8);
  EXPECT_TRUE(troubles_of(machine, sampler, 8).empty());
  EXPECT_EQ(machine.plain, 5);
  EXPECT_EQ(machine.timed, 3);
  EXPECT_NE(sampler.typical(), nullptr);
}

// Every step runs, the trouble is told once, and nothing is compared or traced.
TEST(RunStep, RunsOnWithoutTimesWhereMemoryIsShort) {
  StepCounter machine(false);
  StepSampler sampler({.compare = true, .trace_step = 5}, 8);
  const std::vector<std::string> troubles = troubles_of(machine, sampler, 8);
  ASSERT_EQ(troubles.size(), 1U);
  EXPECT_EQ(troubles[0],
            "the ops of a step cannot be timed: making a graph of a section: out of memory; going on without");
  EXPECT_EQ(machine.plain, 8);
  EXPECT_EQ(machine.timed, 0);
  EXPECT_EQ(sampler.typical(), nullptr);
  EXPECT_EQ(sampler.to_trace(), nullptr);
  EXPECT_EQ(sampler.mean_step_seconds(), (3 + 4 + 5 + 6 + 7 + 8) / 6.0);
}

}  // namespace
}  // namespace centavo::testing
