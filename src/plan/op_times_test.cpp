#include "plan/op_times.h"

#include <gtest/gtest.h>

#include <set>

#include "base/errors.h"
#include "ops/cuda/kernels.h"
#include "plan/ceilings.h"
#include "plan/probe.h"
#include "tests/support/cuda_check.h"
#include "tests/support/models.h"
#include "train/step_program.h"

namespace centavo {
namespace {

const OpCase kAdd{"add f32 f32 > f32", {8, 8, 8}, {.flops = 8, .bytes = 96}};

TEST(OpTimes, CleanCallsSpeakForACase) {
  OpTimes times;
  for (const double seconds : {1.0, 2.0, 3.0, 4.0}) times.add(kAdd, seconds, Timing::clean);
  for (int i = 0; i < 4; ++i) times.add(kAdd, 0.5, Timing::disturbed);
  ASSERT_EQ(times.samples().size(), 1U);
  EXPECT_EQ(times.samples()[0].seconds, 2.0);
  EXPECT_EQ(times.samples()[0].bytes, 96);
  EXPECT_EQ(times.disturbed_share(), 0.5);
}

TEST(OpTimes, WithFewCleanCallsAllSpeak) {
  OpTimes times;
  times.add(kAdd, 4.0, Timing::clean);
  for (const double seconds : {5.0, 6.0, 7.0}) times.add(kAdd, seconds, Timing::disturbed);
  EXPECT_EQ(times.samples()[0].seconds, 5.0);
}

// On a GPU the slowest and the fastest quarter go.
TEST(OpTimes, TheMiddleMeanSpeaksForAGpu) {
  OpTimes times(typical_on(DeviceKind::cuda));
  for (const double seconds : {9.0, 1.0, 3.0, 2.0}) times.add(kAdd, seconds, Timing::clean);
  EXPECT_EQ(times.samples()[0].seconds, 2.5);
}

// Every op of the program gets a sample, under the case that a reader of the program asks for.
TEST(OpTimes, EveryOpOfAStepIsTimed) {
  const RunConfig config = probe_config({32, 64, 2, 16, 2, 64, 2}, "bf16");
  OpTimes times;
  time_ops(testing::test_ops(), training_program(testing::test_ops(), config, 2), config, 2,
           {.least_steps = 1, .most_steps = 2, .seconds = 0}, times);
  Profile profile;
  profile.copy_bytes_per_second = 1e10;
  profile.product_flops["f32"] = 1e11;
  profile.samples = times.samples();
  OpCosts costs(profile);
  const Program program = training_program(testing::test_ops(), config, Worker(2));
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) EXPECT_GT(costs.seconds(case_of(testing::test_ops(), program, op)), 0);
  }
  EXPECT_TRUE(costs.unknown().empty());
}

// No case is quicker than its floor at rates that no GPU of today has.
TEST(OpTimesCuda, EveryOpOfAStepIsTimed) {
  NEEDS_GPU();
  RunConfig config = probe_config({512, 1376, 8, 512, 8, 8192, 2}, "bf16");
  config.documents = "joined";
  Worker worker(2);
  worker.use("cuda");
  const Program program = training_program(testing::test_ops(), config, worker);
  OpTimes times(typical_on(DeviceKind::cuda));
  time_ops(testing::test_ops(), program, config, worker,
           {.least_steps = 3, .most_steps = 5, .seconds = 0.1, .warm_up_seconds = 0.1}, times);
  Profile ceilings;
  ceilings.copy_bytes_per_second = 5e13;
  ceilings.product_flops["bf16"] = 5e15;
  std::set<std::pair<std::string, std::vector<int64_t>>> timed;
  for (const OpSample& s : times.samples()) {
    EXPECT_GT(s.seconds, ceilings.floor_seconds({s.signature, s.extents, {.flops = s.flops, .bytes = s.bytes}}))
        << s.signature;
    timed.insert({s.signature, s.extents});
  }
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) {
      const OpCase c = case_of(testing::test_ops(), program, op);
      EXPECT_TRUE(timed.contains({c.signature, c.extents})) << c.signature;
    }
  }
}

TEST(CeilingsCuda, AreWhatAGpuCanHave) {
  NEEDS_GPU();
  Worker worker(2);
  worker.use("cuda");
  Profile profile;
  add_ceilings(testing::test_ops(), worker, profile);
  EXPECT_GT(profile.copy_bytes_per_second, 1e11);
  EXPECT_LT(profile.copy_bytes_per_second, 5e13);
  EXPECT_GT(profile.to_host_bytes_per_second, 1e9);
  EXPECT_GT(profile.to_device_bytes_per_second, 1e9);
  EXPECT_GT(profile.product_flops.at("bf16"), profile.product_flops.at("f32"));
  EXPECT_LT(profile.product_flops.at("bf16"), 5e15);
}

TEST(OpTimes, TooLargeAModelIsRefused) {
  EXPECT_THROW(probe_program(testing::test_ops(), probe_config({32, 64, 2, 16, 2, 64, 1}, "fp32"), 2, 1000),
               OutOfMemory);
}

// The models that predictions are scored on must lie between the ladder's sizes, not on them.
TEST(Ladder, HoldsNoneOfTheScoredModels) {
  for (const RunConfig& config : ladder(Ladder::full)) {
    const int64_t width = config.model.hidden_size;
    EXPECT_TRUE(width != 128 && width != 384 && width != 512 && width != 768) << name_of_probe(config);
  }
}

std::set<std::string> kinds_of(const Program& program) {
  std::set<std::string> kinds;
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) kinds.insert(op.kind);
  }
  return kinds;
}

// Whatever a run file may ask for, its ops have samples. But for `fill`, zeros between the tensors of a gradient unit:
// the GPU's widths leave nothing between them.
TEST(Ladder, OfAGpuCallsEveryOpThatTheProcessorsDoes) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  const auto kinds = [](DeviceKind device) {
    Worker worker(1);
    worker.device = device;
    std::set<std::string> all;
    for (const RunConfig& config : ladder(Ladder::full, device)) {
      all.merge(kinds_of(probe_program(testing::test_ops(), config, worker, int64_t{1} << 40)));
    }
    return all;
  };
  const std::set<std::string> on_gpu = kinds(DeviceKind::cuda);
  for (const std::string& kind : kinds(DeviceKind::cpu)) EXPECT_TRUE(on_gpu.contains(kind) || kind == "fill") << kind;
}

// The plan for the default GPU stands for all: sizes of workspaces hardly differ.
TEST(Ladder, OfAGpuFitsEightyGigabytes) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  Worker worker(1);
  worker.device = DeviceKind::cuda;
  constexpr int64_t kCard = 80'000'000'000;
  for (const Ladder which : {Ladder::full, Ladder::quick}) {
    for (const RunConfig& config : ladder(which, DeviceKind::cuda)) {
      EXPECT_NO_THROW(probe_program(testing::test_ops(), config, worker, kCard / 20 * 19)) << name_of_probe(config);
    }
  }
}

}  // namespace
}  // namespace centavo
