// `centavo bench`, from outside, and what its profile is good for.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "machine/virtual/cost_source.h"
#include "ops/all.h"
#include "plan/op_times.h"
#include "plan/probe.h"
#include "tests/support/models.h"
#include "tests/support/process.h"
#include "tests/support/sanitized.h"

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
  time_ops(all_ops(), probe_program(all_ops(), config, kThreads, kMemoryBytes), config, kThreads,
           {.least_steps = 3, .most_steps = 10, .seconds = 0.3}, times);
  return times.samples();
}

// Other processes may take most of the machine while either side is measured: the bound finds wrong units and wrong
// neighbours, not small errors.
TEST(BenchCommand, QuickProfilePredictsSizesItDoesNotHold) {
  if (testing::kSanitized) GTEST_SKIP() << "times under sanitizers mean nothing";
  const std::string file = testing::fresh_directory("bench") + "/new/profile.json";
  const testing::Outcome outcome =
      testing::run({"bench", "--quick", "--device", "cpu", "--threads", "2", "--out", file});
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

// The profile holds one sample of the run with a time that none can have, and one that the run does not call.
TEST(BenchCommand, ARunsOpsReplaceTheirSamples) {
  if (testing::kSanitized) GTEST_SKIP() << "times under sanitizers mean nothing";
  const std::string directory = testing::fresh_directory("bench_run");
  const std::string file = directory + "/profile.json";
  RunConfig config = probe_config({64, 128, 2, 32, 2, 256, 5}, "fp32");
  config.device = "cpu";
  config.model.num_hidden_layers = 6;
  write_file_atomic(directory + "/run.toml", print(config));
  const auto bench = [&] {
    return testing::run({"bench", "--quick", "--run", directory + "/run.toml", "--threads", "2", "--out", file});
  };
  ASSERT_EQ(bench().code, 0);  // no profile yet
  Profile profile = read_profile(file);
  const size_t count = profile.samples.size();
  const OpSample other = {"add f32 f32 > f32", {1, 2, 3}, 1, 1, 5};
  EXPECT_TRUE(profile.runs.empty());
  profile.commit = "earlier";
  profile.samples[0].seconds = 1000;
  profile.take({other});
  write_profile(profile, file);
  const testing::Outcome outcome = bench();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  OpCosts costs(read_profile(file));
  EXPECT_EQ(costs.profile().samples.size(), count + 1);
  EXPECT_EQ(costs.profile().commit, "earlier") << "other samples are still that program's";
  EXPECT_EQ(costs.profile().runs.size(), 1U);
  EXPECT_DOUBLE_EQ(costs.seconds({other.signature, other.extents, {.flops = 1, .bytes = 1}}), 5);
  for (const OpSample& sample : costs.profile().samples) EXPECT_LT(sample.seconds, 100) << sample.signature;
}

TEST(BenchCommand, ARunIsNotMeasuredIntoAnothersProfile) {
  const std::string directory = testing::fresh_directory("bench_other");
  CpuFacts cpu = cpu_facts();
  Profile other = prior_profile(cpu, 3);
  write_profile(other, directory + "/threads.json");
  cpu.model = "Other Chip";
  other = prior_profile(cpu, 2);
  write_profile(other, directory + "/cpu.json");
  other.device = DeviceKind::cuda;
  write_profile(other, directory + "/gpu.json");
  RunConfig config = probe_config({64, 128, 2, 32, 2, 256, 1}, "fp32");
  config.device = "cpu";
  write_file_atomic(directory + "/run.toml", print(config));
  for (const auto& [file, why] : {std::pair("/cpu.json", "is the profile of Other Chip and this is"),
                                  {"/threads.json", "add --threads 3"},
                                  {"/gpu.json", "(device cuda) and the run computes on cpu"}}) {
    const testing::Outcome outcome =
        testing::run({"bench", "--run", directory + "/run.toml", "--threads", "2", "--out", directory + file});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(why));
  }
}

TEST(BenchCommand, TimesOneOp) {
  if (testing::kSanitized) GTEST_SKIP() << "times under sanitizers mean nothing";
  const testing::Outcome outcome = testing::run({"bench", "--op", "linear_dx_swiglu_grad", "device=cpu",
                                                 "model.hidden_size=64", "model.vocab_size=256", "seq_len=32"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("linear_dx_swiglu_grad f32 f32 f32 > f32 -  [128 64 64 688 128 1376 128 1376]"));
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
  EXPECT_THAT(refused({"bench", "seq_len=32"}), HasSubstr("name the op with --op NAME or the run with --run"));
  EXPECT_THAT(refused({"bench", "--run", "none.toml", "--op", "linear"}), HasSubstr("excludes"));
  EXPECT_THAT(refused({"bench", "--run", "none.toml"}), HasSubstr("none.toml"));
  EXPECT_THAT(refused({"bench", "--op", "linear", "--quick"}), HasSubstr("excludes"));
}

}  // namespace
}  // namespace centavo
