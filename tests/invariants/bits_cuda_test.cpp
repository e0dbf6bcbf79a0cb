// Promises 2, 6 and 7 on a GPU: what may change no bit there. Under deterministic = true, without which cuDNN's
// backward of attention adds in any order.

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "passes/edges.h"
#include "passes/place.h"
#include "program/text.h"
#include "tests/support/cuda_check.h"
#include "tests/support/models.h"
#include "tests/support/process.h"
#include "tests/support/scoped_variable.h"
#include "tests/support/training_steps.h"
#include "train/metrics_log.h"

namespace centavo::testing {
namespace {

using Strings = std::vector<std::string>;

// A run on the GPU with its data.
struct Setting {
  RunConfig config;
  Corpus corpus;
  Worker worker;

  explicit Setting(Strings keys)
      : config(on_gpu(std::move(keys))), corpus(corpus_of(config)), worker(worker_for(config)) {}

  Program program(const Techniques& techniques = {}) const {
    return training_program(test_ops(), config, worker, techniques);
  }
  Trained run(const Program& placed) const { return trained(placed, config, corpus, worker); }

 private:
  static RunConfig on_gpu(Strings keys) {
    keys.insert(keys.begin(), {"device=cuda", "deterministic=true"});
    return micro_run(fresh_directory("gpu"), keys);
  }
};

// Heads that cuDNN takes in bf16; the micro run's own are for our kernels.
Strings with_wide_heads(Strings keys) {
  keys.insert(keys.end(), {"precision=bf16", "documents=joined", "model.hidden_size=256", "model.intermediate_size=512",
                           "model.num_hidden_layers=3", "seq_len=128", "loss_chunk=256"});
  return keys;
}

// Products long enough that linear and swiglu, and their backward, are timed against one kernel and may run as it.
Strings with_long_products(Strings keys) {
  keys.insert(keys.end(), {"precision=bf16", "documents=joined", "model.hidden_size=512",
                           "model.intermediate_size=1536", "seq_len=256", "micro_batch=8"});
  return keys;
}

// The sums of one and of several micro-batches, every precision on our kernels, and cuDNN.
std::vector<Strings> settings() {
  const Strings one_in_a_chain = {"grad_sum=chain", "grad_accum_steps=1"};
  const Strings chain = {"grad_sum=chain", "grad_accum_steps=3"};
  const Strings one_in_a_tree = {"grad_sum=tree", "grad_accum_steps=1"};
  const Strings tree = {"grad_sum=tree", "grad_accum_steps=3"};
  std::vector<Strings> all = {one_in_a_chain, chain, one_in_a_tree, tree};
  for (const char* precision : {"precision=bf16", "precision=bf16-stochastic"}) {
    for (Strings keys : {chain, tree}) {
      keys.emplace_back(precision);
      all.push_back(keys);
    }
  }
  all.push_back(with_wide_heads(one_in_a_chain));
  all.push_back(with_wide_heads(tree));
  all.push_back(with_long_products(chain));
  return all;
}

std::string name_of(const Strings& keys) { return fmt::format("{}", fmt::join(keys, " ")); }

struct Technique {
  const char* name;
  Techniques techniques;
};

RecomputeChoice ladder(size_t steps) { return {.mode = RecomputeChoice::Mode::steps, .steps = steps, .rates = {}}; }

std::vector<Technique> techniques() {
  const OffloadChoice activations = {.what = {Offloaded::activations}};
  const OffloadChoice all = {.what = {Offloaded::activations, Offloaded::states}};
  return {{"recompute cheap", {recompute_choice("cheap"), {}}},
          {"recompute attention", {recompute_choice("attention"), {}}},
          {"recompute full", {recompute_choice("full"), {}}},
          {"1 step of the ladder", {ladder(1), {}}},
          {"5 steps of the ladder", {ladder(5), {}}},
          {"offload activations", {{}, activations}},
          {"offload all", {{}, all}},
          {"5 steps of the ladder, offload all", {ladder(5), all}}};
}

TEST(BitsCuda, RecomputeAndOffloadChangeNone) {
  NEEDS_GPU();
  for (const Strings& keys : settings()) {
    const Setting setting(keys);
    const Program plain = setting.program();
    const Trained expected = setting.run(plain);
    for (const Technique& technique : techniques()) {
      const Program program = setting.program(technique.techniques);
      EXPECT_NE(print(program), print(plain)) << technique.name << " does nothing";
      expect_same_bits(setting.run(program), expected, fmt::format("{}, {}", name_of(keys), technique.name));
    }
  }
}

TEST(BitsCuda, PlacementChangesNone) {
  NEEDS_GPU();
  for (const Strings& keys : {Strings{"grad_accum_steps=3"}, with_wide_heads({"offload=all"})}) {
    const Setting setting(keys);
    const Techniques asked = techniques_of(setting.config);
    const Program program = training_program(test_ops(), setting.config, setting.worker, asked, "workspaces");
    const Trained expected = setting.run(setting.program(asked));
    for (const PlaceOptions& options : {PlaceOptions{.red_zone_bytes = 0, .borrow = {}, .share_addresses = false},
                                        PlaceOptions{.red_zone_bytes = 4096, .borrow = {}}}) {
      expect_same_bits(setting.run(derive_edges(place(program, options), test_ops())), expected, name_of(keys));
    }
  }
}

// Arenas begin as NaN, ops run one by one.
TEST(BitsCuda, DebugModeChangesNone) {
  NEEDS_GPU();
  for (const Strings& keys : {Strings{"grad_accum_steps=3"}, with_wide_heads({"recompute=full"})}) {
    Setting setting(keys);
    const Techniques asked = techniques_of(setting.config);
    const Trained expected = setting.run(setting.program(asked));
    setting.worker.debug = true;
    expect_same_bits(setting.run(setting.program(asked)), expected, name_of(keys));
  }
}

TEST(BitsCuda, APrintedProgramRunsTheSame) {
  NEEDS_GPU();
  for (const Strings& keys : {Strings{"precision=bf16-stochastic", "grad_accum_steps=3", "grad_sum=tree"},
                              with_wide_heads({"recompute=full", "offload=all", "grad_accum_steps=2"})}) {
    const Setting setting(keys);
    const Program program = setting.program(techniques_of(setting.config));
    const std::string text = print(program);
    const Program again = parse(text);
    EXPECT_EQ(print(again), text) << name_of(keys);
    expect_same_bits(setting.run(again), setting.run(program), name_of(keys));
  }
}

TEST(BitsCuda, TwoMachinesGiveTheSame) {
  NEEDS_GPU();
  for (const Strings& keys : settings()) {
    const Setting setting(keys);
    expect_same_bits(setting.run(setting.program()), setting.run(setting.program()), name_of(keys));
  }
}

// Our kernels always add in one order.
TEST(BitsCuda, OwnKernelsGiveTheSameUnasked) {
  NEEDS_GPU();
  Setting setting({"grad_accum_steps=3"});
  const Trained expected = setting.run(setting.program());
  setting.config.deterministic = false;
  setting.worker = worker_for(setting.config);
  for (int i = 0; i < 2; ++i) expect_same_bits(setting.run(setting.program()), expected, "not asked");
}

// Matrix products that are timed: what the first process chooses the second takes from its file.
TEST(BitsCuda, TwoProcessesGiveTheSame) {
  NEEDS_GPU();
  const std::string directory = fresh_directory("processes");
  const ScopedVariable cache("XDG_CACHE_HOME", directory);
  RunConfig config = micro_run(directory, {"device=cuda", "deterministic=true", "precision=bf16", "documents=joined",
                                           "model.hidden_size=512", "model.intermediate_size=1536", "seq_len=256",
                                           "micro_batch=8", "learning_rate=1e-3", "max_steps=12"});
  std::vector<std::vector<StepRecord>> steps;
  std::vector<std::string> models;
  for (const char* name : {"one", "two"}) {
    config.out = directory + "/" + name;
    const std::string file = config.out + ".toml";
    write_file_atomic(file, print(config));
    const Outcome outcome = run({"train", file});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    steps.push_back(read_metrics(metrics_path(config.out)).steps);
    models.push_back(read_file(config.out + "/model/model.safetensors"));
  }
  ASSERT_EQ(steps[0].size(), 12U);
  EXPECT_LT(steps[0].back().loss, steps[0].front().loss);
  for (size_t i = 0; i < steps[0].size(); ++i) EXPECT_EQ(steps[0][i].loss, steps[1][i].loss) << "step " << i;
  EXPECT_TRUE(models[0] == models[1]) << "the weights differ";
}

}  // namespace
}  // namespace centavo::testing
