// Promise 2 for ranks: how weights, gradients and states are cut changes no bit; with sums as a tree neither does the
// number of ranks.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

#include "tests/support/sanitized.h"
#include "tests/support/worlds.h"
#include "train/step_program.h"

namespace centavo::testing {
namespace {

struct Setting {
  std::string precision = "fp32";
  int64_t micro_batches = 1;  // of a step, over all ranks
  std::string grad_sum = "chain";
};

RunConfig config_of(const std::string& directory, const Setting& s, const std::string& shard) {
  return micro_run(directory, {"precision=" + s.precision, fmt::format("grad_accum_steps={}", s.micro_batches),
                               "grad_sum=" + s.grad_sum, "shard=" + shard, "micro_batch=2", "seq_len=64"});
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

// Under sanitizers what is looked for is a wrong access, and a part of the lists below has every one: bits are compared
// by the other build.
using Strings = std::vector<std::string>;
const Strings kPrecisions = kSanitized ? Strings{"bf16-stochastic"} : Strings{"fp32", "bf16", "bf16-stochastic"};
const Strings kSums = kSanitized ? Strings{"tree"} : Strings{"chain", "tree"};
const Strings kModes = kSanitized ? Strings{"none", "full"} : Strings{"none", "cheap", "attention", "full"};
const Strings kLayers = kSanitized ? Strings{"3"} : Strings{"1", "3"};

TEST_F(Ranks, NoCutChangesABitOfOneMicroBatch) {
  for (const std::string& precision : kPrecisions) {
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
  for (const std::string& precision : kPrecisions) {
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
    for (const std::string& grad_sum : kSums) {
      const Setting setting{"bf16", 6, grad_sum};
      EXPECT_EQ(differences(run(setting, row, {2, 1}, true), run(setting, row, {2, 1})), std::vector<std::string>());
      EXPECT_EQ(differences(run(setting, row, {1, 3}, true), run(setting, row, {1, 3})), std::vector<std::string>());
    }
  }
}

// --- the whole grid: every technique, every row, in the bits of the plainest program

struct GridPoint {
  int64_t ranks;
  const char* precision;
  int64_t micro_batches;  // of a rank
};

std::string name_of(const GridPoint& point) {
  return fmt::format("{}Ranks_{}_{}MicroBatches", point.ranks, point.precision, point.micro_batches);
}

void PrintTo(const GridPoint& point, std::ostream* out) { *out << name_of(point); }

std::string name_of_point(const ::testing::TestParamInfo<GridPoint>& info) { return name_of(info.param); }

class Grid : public ::testing::TestWithParam<GridPoint> {};

// Under sanitizers every value once.
std::vector<GridPoint> grid_points() {
  if (kSanitized) return {{1, "fp32", 1}, {2, "bf16", 3}, {3, "fp32", 3}, {4, "bf16", 1}};
  std::vector<GridPoint> points;
  for (const int64_t ranks : {1, 2, 3, 4}) {
    for (const char* precision : {"fp32", "bf16"}) {
      for (const int64_t micro_batches : {1, 3}) points.push_back({ranks, precision, micro_batches});
    }
  }
  return points;
}

int64_t count_ops(const Program& program, const std::function<bool(const Op&)>& which) {
  int64_t count = 0;
  for (const Section& section : program.sections) count += std::ranges::count_if(section.ops, which);
  return count;
}

// The techniques are there to be tested.
void expect_used(const RunConfig& config, const Mesh& mesh) {
  const Program program = training_program(test_ops(), config, Worker(1, mesh, 0));
  const auto sent = [](const Op& op) { return op.kind == "copy" && op.stage == Stage::forward; };
  const auto fetched = [](const Op& op) { return op.kind == "copy" && op.stage == Stage::update; };
  // As an op of its own, or along the way by a gradient.
  const auto replayed = [](const Op& op) {
    return op.logical != op.id || (op.kind.ends_with("swiglu_grad") && op.outputs.size() == 2);
  };
  const auto talks = [](const Op& op) { return test_ops().at(op.kind).collective; };
  EXPECT_EQ(count_ops(program, sent) > 0, config.offload == "all");
  EXPECT_EQ(count_ops(program, fetched) > 0, config.offload == "all");
  EXPECT_EQ(count_ops(program, replayed) > 0, config.recompute != "none");
  EXPECT_EQ(count_ops(program, talks) > 0, mesh.ranks() > 1);
}

TEST_P(Grid, NoTechniqueChangesABit) {
  const GridPoint p = GetParam();
  const std::string directory = fresh_directory("grid");
  // As a chain rows may differ in the last bits once several micro-batches are added.
  const Setting setting{p.precision, p.ranks * p.micro_batches, p.micro_batches == 1 ? "chain" : "tree"};
  const RunConfig plain = config_of(directory, setting, "ddp");
  const Corpus corpus = corpus_of(plain);
  const Mesh mesh{1, p.ranks};
  const WorldRun expected = run_world(plain, corpus, mesh, 2);
  for (const std::string& row : kZero) {
    for (const std::string& mode : kModes) {
      for (const char* offloaded : {"none", "all"}) {
        RunConfig config = config_of(directory, setting, row);
        config.recompute = mode;
        config.offload = offloaded;
        expect_used(config, mesh);
        EXPECT_EQ(differences(run_world(config, corpus, mesh, 2), expected), std::vector<std::string>())
            << row << ", recompute " << mode << ", offload " << offloaded;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Promise2, Grid, ::testing::ValuesIn(grid_points()), name_of_point);

TEST_F(Ranks, PrefetchChangesNoBit) {
  const Setting setting{"bf16", 4, "chain"};
  const WorldRun expected = run(setting, "zero3", {1, 4});
  for (const int64_t prefetch : {0, 2, 5}) {
    RunConfig config = config_of(directory_, setting, "zero3");
    config.prefetch = prefetch;
    config.recompute = "full";
    config.offload = "all";
    EXPECT_EQ(differences(run_world(config, corpus_, {1, 4}, 2), expected), std::vector<std::string>()) << prefetch;
  }
}

// Models at the edges: one layer, a tied head (one unit, two gradients, gathered twice), biases, a window.
TEST_F(Ranks, OddModelsAreCutTheSame) {
  for (const std::string& layers : kLayers) {
    for (const char* tied : {"true", "false"}) {
      const Setting setting{"bf16", 6, "tree"};
      const auto config = [&](const std::string& row) {
        RunConfig c = config_of(directory_, setting, row);
        c.model.num_hidden_layers = std::stoi(layers);
        c.model.tie_word_embeddings = std::string(tied) == "true";
        c.model.attention_bias = true;
        c.model.attention_output_bias = std::string(tied) == "false";
        c.model.sliding_window = 5;
        c.recompute = "full";
        c.offload = "all";
        return c;
      };
      const WorldRun expected = run_world(config("ddp"), corpus_, {1, 1}, 2);
      for (const std::string& row : shard_rule_names()) {
        EXPECT_EQ(differences(run_world(config(row), corpus_, {1, 2}, 2), expected), std::vector<std::string>())
            << row << ", " << layers << " layers, tied " << tied;
        EXPECT_EQ(differences(run_world(config(row), corpus_, {2, 1}, 2), expected), std::vector<std::string>())
            << row << " on two nodes, " << layers << " layers, tied " << tied;
      }
    }
  }
}

// As a chain, ddp adds its micro-batches before the ranks and zero2 after: sums of the same n terms in two orders. Each
// is within (n - 1) u of the exact sum, relative to the sum of the terms' sizes, which no term here exceeds n-fold.
TEST_F(Ranks, AsAChainRowsAgreeWithinRounding) {
  const Setting setting{"fp32", 12, "chain"};
  const auto moment = [&](const std::string& row) {
    const RunConfig config = config_of(directory_, setting, row);
    const WorldRun result = run_world(config, corpus_, {1, 4}, 1);
    std::vector<double> values;
    for (const auto& [name, bytes] : result.state) {
      if (!name.ends_with(".m")) continue;
      const auto* begin = reinterpret_cast<const float*>(bytes.data());
      values.insert(values.end(), begin, begin + bytes.size() / sizeof(float));
    }
    return values;
  };
  const double n = 12;
  const double bound = 2 * (n - 1) * 0x1p-24 * n;
  const std::vector<double> ddp = moment("ddp");
  EXPECT_EQ(moment("zero1"), ddp);
  EXPECT_EQ(moment("zero3"), moment("zero2"));
  EXPECT_LT(relative_norm(moment("zero2"), ddp), bound);
  EXPECT_NE(moment("zero2"), ddp) << "the orders do not differ: this test shows nothing";
}

// More ranks than divide a step: the leaves beyond are empty and the mean is over the tokens there are.
TEST_F(Ranks, AnyNumberOfRanksSharesAStep) {
  const Setting setting{"fp32", 5, "chain"};
  const WorldRun alone = run(setting, "ddp", {1, 1});
  for (const int64_t ranks : {2, 3, 4}) {
    const WorldRun shared = run(setting, "zero2", {1, ranks});
    for (size_t step = 0; step < alone.metrics.size(); ++step) {
      EXPECT_EQ(shared.metrics[step][2], alone.metrics[step][2]) << "tokens";
      EXPECT_NEAR(shared.metrics[step][0], alone.metrics[step][0], 1e-4 * alone.metrics[step][0]) << "loss";
    }
  }
}

// What a rank keeps: its share of weights and states, and the weights of `vectors` whole.
TEST_F(Ranks, Zero3KeepsTotalOverRanks) {
  const Setting setting{"bf16", 4, "chain"};
  const RunConfig config = config_of(directory_, setting, "zero3");
  const auto kept = [&](const Mesh& mesh) {
    const Program program = training_program(test_ops(), config, Worker(1, mesh, 0), "shard");
    std::map<std::string, int64_t> bytes;
    for (const Buffer& b : program.buffers) {
      const bool state = b.kind == BufferKind::parameter || b.kind == BufferKind::optimizer_state;
      if (b.persistent && !b.view && state) bytes[b.name] = b.slot_bytes();
    }
    return bytes;
  };
  const auto alone = kept({1, 1});
  for (const int64_t ranks : {2, 4}) {
    for (const auto& [name, bytes] : kept({1, ranks})) {
      const std::string whole = name.ends_with(".shard") ? name.substr(0, name.size() - 6) : name;
      const int64_t total = alone.at(whole);
      if (name == "norms") {
        EXPECT_GE(bytes, total) << "kept whole";
        continue;
      }
      const int64_t padding = 2 * 64 * 4;  // less than a norm block of f32 a rank
      EXPECT_GE(bytes, total / ranks) << name;
      EXPECT_LE(bytes, total / ranks + padding) << name;
    }
  }
}

}  // namespace
}  // namespace centavo::testing
