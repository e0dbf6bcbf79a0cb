// Promise 2 for ranks: how weights, gradients and states are cut changes no bit; with sums as a tree neither does the
// number of ranks.

#include <gtest/gtest.h>

#include "tests/support/worlds.h"

namespace centavo::testing {
namespace {

struct Setting {
  std::string precision = "fp32";
  int64_t micro_batches = 1;  // of a step, over all ranks
  std::string grad_sum = "chain";
};

RunConfig config_of(const std::string& directory, const Setting& s, const std::string& shard) {
  return micro_run(directory, {"precision=" + s.precision, fmt::format("grad_accum_steps={}", s.micro_batches),
                               "grad_sum=" + s.grad_sum, "shard=" + shard, "micro_batch=1", "seq_len=16"});
}

class Ranks : public ::testing::Test {
 protected:
  WorldRun run(const Setting& setting, const std::string& shard, const Mesh& mesh, bool debug = false) {
    const RunConfig config = config_of(directory_, setting, shard);
    return run_world(config, corpus_, mesh, 2, {.threads = 1, .debug = debug});
  }

  std::string directory_ = fresh_directory("ranks");
  Corpus corpus_ = corpus_of(config_of(directory_, {}, "ddp"));
};

const std::vector<std::string> kZero = {"ddp", "zero1", "zero2", "zero3"};

TEST_F(Ranks, NoCutChangesABitOfOneMicroBatch) {
  for (const char* precision : {"fp32", "bf16", "bf16-stochastic"}) {
    for (const int64_t ranks : {2, 3, 4}) {
      const Setting setting{precision, ranks};
      const WorldRun ddp = run(setting, "ddp", {1, ranks});
      for (const char* row : {"zero1", "zero2", "zero3", "hybrid", "hybrid-full"}) {
        EXPECT_EQ(differences(run(setting, row, {1, ranks}), ddp), std::vector<std::string>())
            << row << " on " << ranks << " ranks, " << precision;
      }
    }
  }
}

TEST_F(Ranks, AsATreeNeitherCutNorWorldChangesABit) {
  for (const char* precision : {"fp32", "bf16", "bf16-stochastic"}) {
    const Setting setting{precision, 12, "tree"};
    const WorldRun alone = run(setting, "ddp", {1, 1});
    for (const int64_t ranks : {1, 2, 4}) {
      for (const std::string& row : kZero) {
        EXPECT_EQ(differences(run(setting, row, {1, ranks}), alone), std::vector<std::string>())
            << row << " on " << ranks << " ranks, " << precision;
      }
    }
  }
}

TEST_F(Ranks, NodesChangeNoBit) {
  const Setting setting{"bf16", 4, "tree"};
  const WorldRun alone = run(setting, "ddp", {1, 1});
  for (const Mesh& mesh : {Mesh{2, 2}, Mesh{4, 1}, Mesh{2, 1}}) {
    for (const std::string& row : shard_rule_names()) {
      EXPECT_EQ(differences(run(setting, row, mesh), alone), std::vector<std::string>())
          << row << " on " << mesh.nodes << " nodes of " << mesh.local;
    }
  }
}

TEST_F(Ranks, TheDebugMachineFindsNothing) {
  for (const std::string& row : shard_rule_names()) {
    for (const char* grad_sum : {"chain", "tree"}) {
      const Setting setting{"bf16", 6, grad_sum};
      EXPECT_EQ(differences(run(setting, row, {2, 1}, true), run(setting, row, {2, 1})), std::vector<std::string>());
      EXPECT_EQ(differences(run(setting, row, {1, 3}, true), run(setting, row, {1, 3})), std::vector<std::string>());
    }
  }
}

}  // namespace
}  // namespace centavo::testing
