#include "plan/run_probe.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <set>

#include "base/errors.h"
#include "machine/virtual/profile.h"
#include "ops/cuda/kernels.h"
#include "plan/op_times.h"
#include "plan/probe.h"
#include "tests/support/models.h"
#include "train/fit.h"

namespace centavo {
namespace {

using testing::test_ops;
using Cases = std::set<std::pair<std::string, std::vector<int64_t>>>;

constexpr int64_t kPlenty = int64_t{1} << 40;

RunConfig run_of(int64_t layers, int64_t micro_batches) {
  RunConfig config = probe_config({64, 128, 2, 32, 2, 256, micro_batches}, "bf16");
  config.model.num_hidden_layers = layers;
  return config;
}

Cases cases_of(const Program& program) {
  Cases cases;
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) {
      const OpCase c = case_of(test_ops(), program, op);
      cases.insert({c.signature, c.extents});
    }
  }
  return cases;
}

// But for what depends on the number of layers: the unit of all norms, the sums over all tensors.
void expect_same_cases(const RunConfig& config) {
  const RunProbe probe = probe_of_run(test_ops(), config, 2, kPlenty);
  const Cases small = cases_of(probe.program);
  RunConfig deeper = config;
  ++deeper.model.num_hidden_layers;
  const Techniques techniques = fit(test_ops(), config, 2);
  const Cases other = cases_of(training_program(test_ops(), deeper, 2, techniques));
  int found = 0;
  for (const auto& [signature, extents] : cases_of(training_program(test_ops(), config, 2, techniques))) {
    if (!other.contains({signature, extents})) continue;
    EXPECT_TRUE(small.contains({signature, extents}))
        << signature << " [" << fmt::format("{}", fmt::join(extents, " ")) << "] " << config.memory;
    ++found;
  }
  EXPECT_GT(found, 20);
}

TEST(RunProbe, HasFewerLayersAndMicroBatches) {
  const RunProbe probe = probe_of_run(test_ops(), run_of(12, 8), 2, kPlenty);
  EXPECT_EQ(probe.config.model.num_hidden_layers, 4);
  EXPECT_EQ(probe.config.grad_accum_steps, 3);
  const RunProbe small = probe_of_run(test_ops(), run_of(2, 1), 2, kPlenty);
  EXPECT_EQ(small.config.model.num_hidden_layers, 2);
  EXPECT_EQ(small.config.grad_accum_steps, 1);
}

// The clock of a GPU follows the mix of ops, so that must be the run's.
TEST(RunProbe, OfAGpuHasAllLayersThatFit) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  Worker gpu(1);
  gpu.device = DeviceKind::cuda;
  const auto needed = [&](int64_t layers) {
    return memory_needed(training_program(test_ops(), run_of(layers, 3), gpu), DeviceKind::cuda);
  };
  for (const int64_t layers : {12, 11, 7, 1}) {
    const RunProbe probe = probe_of_run(test_ops(), run_of(12, 8), gpu, needed(layers));
    EXPECT_EQ(probe.config.model.num_hidden_layers, layers);
    EXPECT_EQ(memory_needed(probe.program, DeviceKind::cuda), needed(layers));
    EXPECT_EQ(probe.config.grad_accum_steps, 3);
  }
}

TEST(RunProbe, HoldsEveryOpOfTheRun) {
  for (const int64_t micro_batches : {1, 2, 8}) expect_same_cases(run_of(12, micro_batches));
  RunConfig tree = run_of(12, 6);
  tree.grad_sum = "tree";
  expect_same_cases(tree);
  RunConfig offloaded = run_of(12, 2);
  offloaded.offload = "all";
  expect_same_cases(offloaded);
}

// A budget that makes the run recompute a part of its layers.
TEST(RunProbe, RecomputesAsTheRunDoes) {
  RunConfig config = run_of(12, 1);
  const int64_t all = training_program(test_ops(), config, 2).arena_bytes.at(Home::device);
  config.memory = fmt::format("{}KiB", all * 19 / 20 / 1024);
  const Techniques chosen = fit(test_ops(), config, 2);
  ASSERT_GT(chosen.recompute.steps, 0U);
  expect_same_cases(config);
}

TEST(RunProbe, TakesTheLayersThatFit) {
  const auto needed = [](int64_t layers) {
    return memory_needed(training_program(test_ops(), run_of(layers, 1), 2), DeviceKind::cpu);
  };
  EXPECT_EQ(probe_of_run(test_ops(), run_of(12, 1), 2, needed(2)).config.model.num_hidden_layers, 2);
  EXPECT_THROW(probe_of_run(test_ops(), run_of(12, 1), 2, needed(1) - 1), OutOfMemory);
}

}  // namespace
}  // namespace centavo
