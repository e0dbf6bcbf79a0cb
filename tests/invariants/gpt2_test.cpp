// The promises for a GPT-2: layer norms with biases, GELU, learned positions, biases everywhere and a tied head go
// through every pass, a run and back from a Hugging Face directory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "model/hf/model_directory.h"
#include "passes/recompute.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"
#include "tests/support/worlds.h"
#include "train/evaluate.h"
#include "train/export_checkpoint.h"
#include "train/plan_text.h"
#include "train/step_program.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

RunConfig gpt2_run(const std::string& name, std::vector<std::string> keys = {}) {
  keys.insert(keys.begin(), {"model.model_type=gpt2", "model.num_key_value_heads=4"});
  return micro_run(fresh_directory(name), keys);
}

WorldRun one_world(const RunConfig& config, const Corpus& corpus, int64_t ranks) {
  return run_world(config, corpus, Mesh{1, ranks}, 2, {.threads = 1, .debug = true});
}

TEST(Gpt2, RecomputingAndOffloadingChangeNoBit) {
  for (const char* policy : {"fp32", "bf16", "bf16-stochastic"}) {
    const auto run = [&](const std::string& technique) {
      RunConfig config = gpt2_run("technique", {fmt::format("precision={}", policy), "grad_accum_steps=2", technique});
      return one_world(config, corpus_of(config), 1);
    };
    const WorldRun plain = run("recompute=none");
    for (const char* technique : {"recompute=cheap", "recompute=attention", "recompute=full", "offload=all"}) {
      EXPECT_EQ(differences(run(technique), plain), std::vector<std::string>()) << technique << ", " << policy;
    }
  }
}

TEST(Gpt2, NoCutChangesABit) {
  for (const char* policy : {"fp32", "bf16", "bf16-stochastic"}) {
    const auto run = [&](const std::string& row) {
      const RunConfig config =
          gpt2_run("cut", {fmt::format("precision={}", policy), "grad_accum_steps=2", "shard=" + row});
      return one_world(config, corpus_of(config), 2);
    };
    const WorldRun ddp = run("ddp");
    for (const char* row : {"zero1", "zero2", "zero3"}) {
      EXPECT_EQ(differences(run(row), ddp), std::vector<std::string>()) << row << ", " << policy;
    }
  }
}

// Norms in their short form, from the written sum, and the activation: what their siblings get.
TEST(Gpt2, CheapRecomputingReplaysNormsAndGelu) {
  const RunConfig config = gpt2_run("cheap", {"recompute=cheap"});
  const Program program = training_program(test_ops(), config, 2, "recompute");
  std::vector<std::string> replays;
  for (const Op& op : program.find_section("micro")->ops) {
    if (op.id == op.logical) continue;
    replays.push_back(op.kind + "(" + program.buffer(op.inputs[0]).name + ")");
  }
  EXPECT_EQ(replays, (std::vector<std::string>{"gelu(layers.1.up)", "layernorm(layers.1.mlp_norm.sum)",
                                               "layernorm(layers.1.attn_norm.sum)", "gelu(layers.0.up)",
                                               "layernorm(layers.0.mlp_norm.sum)", "layernorm(x)"}));
}

TEST(Gpt2, WeightsBeginAsGpt2s) {
  const RunConfig config = gpt2_run("weights");
  Trainer trainer(test_ops(), config, {});
  const auto deviation = [&](const std::string& name) {
    double squares = 0;
    const std::vector<double> values = get_tensor(trainer.machine(), name);
    for (const double value : values) squares += value * value;
    return std::sqrt(squares / static_cast<double>(values.size()));
  };
  for (const char* name : {"embed.weight", "position_embed.weight", "layers.0.qkv.weight", "layers.0.up.weight"}) {
    EXPECT_NEAR(deviation(name), 0.02, 0.004) << name;
  }
  for (const char* name : {"layers.0.o.weight", "layers.1.down.weight"}) {
    EXPECT_NEAR(deviation(name), 0.01, 0.002) << name;  // sqrt(2 * 2 layers) less
  }
  for (const char* name : {"layers.0.attn_norm.weight", "layers.1.mlp_norm.weight", "norm.weight"}) {
    EXPECT_EQ(get_tensor(trainer.machine(), name), std::vector<double>(16, 1.0)) << name;
  }
  for (const char* name : {"layers.0.attn_norm.bias", "layers.0.qkv.bias", "layers.1.up.bias", "norm.bias"}) {
    EXPECT_EQ(deviation(name), 0) << name;
  }
}

// Trained, stopped, resumed, exported: the directory holds what the run ends with.
TEST(Gpt2, AResumedRunEndsLikeOneThatNeverStopped) {
  for (const char* policy : {"fp32", "bf16"}) {
    const std::vector<std::string> keys = {fmt::format("precision={}", policy)};
    const RunConfig whole = gpt2_run("whole", keys);
    Trainer(test_ops(), whole, {}).run();
    const RunConfig halves = gpt2_run("halves", keys);
    {
      Trainer first(test_ops(), halves, {});
      for (int step = 0; step < 4; ++step) first.train_step();
      first.save();
    }
    Trainer(test_ops(), halves, {.start = TrainOptions::Start::resume}).run();
    const ModelDirectory a = open_model(whole.out + "/model");
    const ModelDirectory b = open_model(halves.out + "/model");
    EXPECT_EQ(a.config.model, whole.model);
    ASSERT_EQ(a.tensors.size(), b.tensors.size());
    for (const auto& [name, tensor] : a.tensors) {
      EXPECT_TRUE(std::ranges::equal(tensor.bytes, b.tensors.at(name).bytes)) << name;
    }
  }
}

TEST(Gpt2, WhatNoFamilyHoldsTrainsAndIsNotExported) {
  const RunConfig config = gpt2_run("mixed", {"model.positions=rope", "max_steps=2"});
  EXPECT_THAT(dry_run(test_ops(), config, 1),
              Contains(HasSubstr("no Hugging Face model has layernorm, gelu and rope positions together")));
  EXPECT_EQ(Trainer(test_ops(), config, {}).run(), Trainer::Outcome::finished);
  EXPECT_FALSE(std::filesystem::exists(config.out + "/model"));
  EXPECT_THROW(export_checkpoint(config.out, "", config.out + "/model"), UserError);
}

}  // namespace
}  // namespace centavo::testing
