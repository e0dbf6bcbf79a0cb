// `centavo bench`, from outside, and what its profile is good for.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "ops/all.h"
#include "plan/op_times.h"
#include "plan/probe.h"
#include "tests/support/models.h"
#include "tests/support/process.h"

namespace centavo {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMemoryBytes = int64_t{1} << 30;
constexpr int kThreads = 2;

// Seconds of all cases together, once each: as measured, and as predicted.
struct Sums {
  double measured = 0;
  double predicted = 0;
};

Sums sums_of(const std::vector<OpSample>& samples, OpCosts& costs) {
  Sums sums;
  for (const OpSample& s : samples) {
    sums.measured += s.seconds;
    sums.predicted += costs.seconds({s.signature, s.extents, {.flops = s.flops, .bytes = s.bytes}});
  }
  return sums;
}

// Sizes that the quick ladder does not hold.
std::vector<OpSample> held_out(const std::string& precision) {
  const RunConfig config = probe_config({256, 704, 4, 128, 6, 3000, 2}, precision);
  OpTimes times;
  time_ops(all_ops(), config, kThreads, kMemoryBytes, {.least_steps = 3, .most_steps = 10, .seconds = 0.3}, times);
  return times.samples();
}

// Other processes may take most of the machine while either side is measured: the bound finds wrong units and wrong
// neighbours, not small errors.
TEST(BenchCommand, QuickProfilePredictsSizesItDoesNotHold) {
  const std::string file = testing::fresh_directory("bench") + "/new/profile.json";
  const testing::Outcome outcome = testing::run({"bench", "--quick", "--threads", "2", "--out", file});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("linear_dw"));
  EXPECT_THAT(outcome.out, HasSubstr(file));
  OpCosts costs(read_profile(file));
  EXPECT_EQ(costs.profile().threads, kThreads);
  EXPECT_GT(costs.profile().disk_write_bytes_per_second, 0);
  for (const char* precision : {"fp32", "bf16", "bf16-stochastic"}) {
    const Sums sums = sums_of(held_out(precision), costs);
    EXPECT_GT(sums.predicted, sums.measured / 6) << precision;
    EXPECT_LT(sums.predicted, sums.measured * 6) << precision;
  }
  EXPECT_TRUE(costs.unknown().empty()) << costs.unknown()[0];
}

TEST(BenchCommand, TimesOneOp) {
  const testing::Outcome outcome =
      testing::run({"bench", "--op", "swiglu", "model.hidden_size=64", "model.vocab_size=256", "seq_len=32"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("swiglu f32 > f32  [128 1376 128 688]"));
}

TEST(BenchCommand, ListsOps) {
  const testing::Outcome outcome = testing::run({"bench", "--list"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("\nattention\nattention_grad\n"));
}

TEST(BenchCommand, RefusesInOneSentence) {
  const auto refused = [](const std::vector<std::string>& args) {
    const testing::Outcome outcome = testing::run(args);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    return outcome.err;
  };
  EXPECT_THAT(refused({"bench", "--op", "linaer"}), HasSubstr("there is no op 'linaer', did you mean linear?"));
  EXPECT_THAT(refused({"bench", "--op", "all_gather"}), HasSubstr("calls no all_gather"));
  EXPECT_THAT(refused({"bench", "seq_len=32"}), HasSubstr("name the op with --op NAME"));
  EXPECT_THAT(refused({"bench", "--op", "linear", "--quick"}), HasSubstr("excludes"));
}

}  // namespace
}  // namespace centavo
