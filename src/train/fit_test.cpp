#include "train/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "base/errors.h"
#include "ops/cuda/kernels.h"
#include "tests/support/models.h"
#include "train/loss_chunk.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

using ::testing::HasSubstr;
using Mode = RecomputeChoice::Mode;

// Logits are a good part of what it holds.
RunConfig open_run(const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all = {"loss_chunk=0",         "micro_batch=8",
                                  "seq_len=128",          "model.vocab_size=512",
                                  "model.hidden_size=32", "model.intermediate_size=96",
                                  "validation_every=0",   "model.num_hidden_layers=3"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return micro_run(fresh_directory("fit"), all);
}

Worker gpu_worker(const std::string& name) {
  Worker worker(1);
  worker.device = DeviceKind::cuda;
  worker.gpu_name = name;
  return worker;
}

int64_t arena(const RunConfig& config, const Worker& worker, const Techniques& techniques) {
  return training_program(test_ops(), config, worker, techniques).arena_bytes.at(Home::device);
}

RunConfig with_budget(RunConfig config, int64_t bytes) {
  config.memory = std::to_string(bytes);
  return config;
}

// What replays and chunks of a plan cost.
double price(const RunConfig& config, const Worker& worker, const Techniques& t) {
  const Program plain = training_program(test_ops(), config, worker, Techniques{}, "fuse_swiglu");
  const auto ladder = recompute_ladder(plain, test_ops(), machine_rates(worker, config.precision));
  double us = priced_loss_chunk(config, worker, t.loss_chunk).us;
  for (size_t i = 0; i < std::min(t.recompute.steps, ladder.size()); ++i) us += ladder[i].us;
  return us;
}

// Of all chunks and all lengths of the ladder, the least price within the budget.
double least_price(const RunConfig& config, const Worker& worker, int64_t budget) {
  const Program plain = training_program(test_ops(), config, worker, Techniques{}, "fuse_swiglu");
  const MachineRates rates = machine_rates(worker, config.precision);
  const size_t steps = recompute_ladder(plain, test_ops(), rates).size();
  double least = std::numeric_limits<double>::infinity();
  for (const LossChunk& chunk : loss_chunks(config, worker)) {
    for (size_t n = 0; n <= steps; ++n) {
      const Techniques t{.recompute = {.mode = Mode::steps, .steps = n, .rates = rates}, .loss_chunk = chunk.tokens};
      if (arena(config, worker, t) <= budget) least = std::min(least, price(config, worker, t));
    }
  }
  return least;
}

void expect_cheapest(const Worker& worker, const RunConfig& config) {
  const std::vector<LossChunk> chunks = loss_chunks(config, worker);
  ASSERT_GT(chunks.size(), 1U);
  const int64_t most = arena(config, worker, {.loss_chunk = chunks.front().tokens});
  const Techniques roomy = fit(test_ops(), with_budget(config, most), worker);
  EXPECT_EQ(roomy.loss_chunk, chunks.front().tokens) << "the cheapest fits";
  EXPECT_EQ(roomy.recompute.mode, Mode::none);
  std::set<int64_t> chosen;
  for (const double share : {0.97, 0.9, 0.85, 0.8, 0.75}) {
    const auto budget = static_cast<int64_t>(share * static_cast<double>(most));
    const double least = least_price(config, worker, budget);
    if (!std::isfinite(least)) continue;
    const Techniques t = fit(test_ops(), with_budget(config, budget), worker);
    EXPECT_LE(arena(config, worker, t), budget);
    EXPECT_TRUE(t.offload.what.empty());
    EXPECT_DOUBLE_EQ(price(config, worker, t), least) << share;
    chosen.insert(t.loss_chunk);
  }
  EXPECT_GT(chosen.size(), 1U);
}

TEST(Fit, ReplaysAndChunksTogetherCostLeast) { expect_cheapest(2, open_run({"precision=bf16-stochastic"})); }

TEST(Fit, ReplaysAndChunksTogetherCostLeastOnAGpu) {
  if (!built_with_cuda()) GTEST_SKIP() << "workspaces of a GPU are planned in a build with CUDA";
  expect_cheapest(gpu_worker("NVIDIA H200"),
                  open_run({"precision=bf16-stochastic", "micro_batch=32", "model.vocab_size=2048"}));
}

TEST(Fit, WithoutABudgetChunksAreTheRunsOrTheDevices) {
  EXPECT_EQ(fit(test_ops(), open_run(), 2).loss_chunk, 1024);
  EXPECT_EQ(fit(test_ops(), open_run(), gpu_worker("")).loss_chunk, 8192);
  EXPECT_EQ(fit(test_ops(), open_run({"loss_chunk=77"}), 2).loss_chunk, 77);
}

TEST(Fit, ChunksThatTheRunNamesAreKept) {
  const RunConfig config = open_run({"loss_chunk=512"});
  const int64_t plain = arena(config, 2, {});
  const Techniques t = fit(test_ops(), with_budget(config, plain * 9 / 10), 2);
  EXPECT_EQ(t.loss_chunk, 512);
  EXPECT_EQ(t.recompute.mode, Mode::steps);
}

TEST(Fit, TheTableNamesTheChunks) {
  const RunConfig config = with_budget(open_run(), int64_t{1} << 30);
  const Techniques t = fit(test_ops(), config, 2);
  EXPECT_THAT(techniques_table(test_ops(), config, 2, t),
              HasSubstr("logits of 1024 of 1024 tokens at a time cost 0.0 us"));
}

TEST(Fit, RefusesWithTheLeastThereIs) { EXPECT_THROW(fit(test_ops(), with_budget(open_run(), 1024), 2), OutOfMemory); }

// By hand: 16384 tokens, 1000 x 512, 132 multiprocessors. In two chunks: 64 x 2 tiles each fit one wave of 132, of
// which 4 places are idle. One chunk: 256 tiles in two waves, 8 idle: the same. The second chunk moves 8 bytes a weight
// more, and a gradient in bf16 8 more.
TEST(LossChunk, PriceByHand) {
  RunConfig config =
      open_run({"precision=bf16", "micro_batch=16", "seq_len=1024", "model.vocab_size=1000", "model.hidden_size=512"});
  const Worker h200 = gpu_worker("NVIDIA H200");
  const double idle = 8.0 * 128 * 256 * 2 * 1000 / 780e12 * 1e6;
  const double sums = 8.0 * 1000 * 512 / 4.3e12 * 1e6;
  EXPECT_NEAR(priced_loss_chunk(config, h200, 16384).us, idle, 1e-9);
  EXPECT_NEAR(priced_loss_chunk(config, h200, 8192).us, idle + sums, 1e-9);
  config.precision = "bf16-stochastic";
  EXPECT_NEAR(priced_loss_chunk(config, h200, 8192).us, idle + 2 * sums, 1e-9);
  EXPECT_EQ(priced_loss_chunk(config, 2, 16384).us, 0) << "processors have no waves";
}

TEST(LossChunk, RatesFollowTheGpu) {
  const MachineRates h200 = machine_rates(gpu_worker("NVIDIA H200"), "bf16");
  EXPECT_EQ(h200.bytes_per_s, 4.3e12);
  EXPECT_LT(h200.attention_flops_per_s, h200.flops_per_s);
  EXPECT_LT(machine_rates(gpu_worker("NVIDIA H200"), "fp32").flops_per_s, h200.flops_per_s);
  EXPECT_EQ(machine_rates(2, "bf16").flops_per_s, MachineRates().flops_per_s);
}

// The chunks are part of a run's bits: a resume with another budget keeps them.
TEST(LossChunk, AResumeKeepsThoseItHasBegunWith) {
  RunConfig config = open_run({"max_steps=3"});
  const int64_t plain = arena(config, 1, {});
  config.memory = std::to_string(2 * plain);
  const auto train = [&](TrainOptions::Start start, int last) {
    Trainer(test_ops(), config, {.start = start, .stop = [asked = 0, last]() mutable { return asked++ == last; }})
        .run();
    return parse_run_config(config.out + "/config.toml", {}).loss_chunk;
  };
  const int64_t begun = train(TrainOptions::Start::fresh, 1);
  EXPECT_EQ(begun, 1024);
  config.memory = std::to_string(plain * 3 / 4);
  EXPECT_EQ(train(TrainOptions::Start::resume, 1000), begun);
}

}  // namespace
}  // namespace centavo::testing
