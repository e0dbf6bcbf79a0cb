#include "passes/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/errors.h"
#include "passes/place.h"
#include "passes/units.h"
#include "program/lifetime.h"
#include "program/tensors.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/models.h"
#include "train/step_program.h"

namespace centavo::testing {
namespace {

RunConfig config_of(const std::string& row, const std::string& grad_sum = "chain", int64_t layers = 4) {
  static const std::string directory = fresh_directory("shard");
  return micro_run(directory, {"shard=" + row, "grad_sum=" + grad_sum, "grad_accum_steps=4",
                               fmt::format("model.num_hidden_layers={}", layers)});
}

Program sharded(const RunConfig& config, const Mesh& mesh, int64_t rank, const std::string& last = "shard") {
  return training_program(test_ops(), config, Worker(1, mesh, rank), last);
}

std::map<std::string, int64_t> count_kinds(const Program& program, const std::string& section) {
  std::map<std::string, int64_t> count;
  for (const Op& op : program.find_section(section)->ops) {
    if (test_ops().at(op.kind).collective) ++count[op.kind];
  }
  return count;
}

using Counts = std::map<std::string, int64_t>;

// embed, head, four layers and norms: seven units.
TEST(Shard, EachRowMovesWhatItsTableSays) {
  const auto counts = [](const std::string& row, const std::string& section) {
    return count_kinds(sharded(config_of(row), {1, 2}, 0), section);
  };
  EXPECT_EQ(counts("ddp", "micro"), (Counts{{"all_reduce", 7}}));
  EXPECT_EQ(counts("ddp", "update"), (Counts{{"all_reduce", 2}}));  // loss and count
  EXPECT_EQ(counts("zero1", "micro"), (Counts{{"reduce_scatter", 7}}));
  EXPECT_EQ(counts("zero1", "update"),
            (Counts{{"all_gather", 8}, {"all_reduce", 2}}));  // weights and the norms of gradients
  EXPECT_EQ(counts("zero2", "micro"), (Counts{{"reduce_scatter", 7}}));
  // Each layer and the embedding in the forward, the head, and again the layers but for the last, which is kept.
  EXPECT_EQ(counts("zero3", "micro"), (Counts{{"all_gather", 4 + 1 + 1 + 3}, {"reduce_scatter", 7}}));
  EXPECT_EQ(counts("zero3", "update"),
            (Counts{{"all_gather", 2}, {"all_reduce", 2}}));  // norms, and the norms of gradients
}

TEST(Shard, ReductionsOfWholeGradientsRunOnceAStep) {
  for (const char* row : {"ddp", "zero1"}) {
    const Program program = sharded(config_of(row), {1, 2}, 0, "sections");
    EXPECT_TRUE(count_kinds(program, "first").empty()) << row;
    EXPECT_EQ(count_kinds(program, "last").size(), 1u) << row;
  }
  EXPECT_EQ(count_kinds(sharded(config_of("zero2"), {1, 2}, 0, "sections"), "first"), (Counts{{"reduce_scatter", 7}}));
}

// The parts of all ranks are all elements of every tensor, each once for a cut over all ranks.
TEST(Shard, CutsCoverEveryTensor) {
  for (const Mesh& mesh : {Mesh{1, 2}, Mesh{1, 3}, Mesh{2, 2}, Mesh{3, 2}, Mesh{4, 1}}) {
    for (const std::string& row : shard_rule_names()) {
      std::map<std::string, std::vector<int>> seen;
      for (int64_t rank = 0; rank < mesh.ranks(); ++rank) {
        for (const TensorPart& part : tensor_parts(sharded(config_of(row), mesh, rank))) {
          auto& count = seen[part.tensor];
          count.resize(static_cast<size_t>(element_count(part.shape)));
          for (int64_t i = part.begin; i < part.end; ++i) ++count[static_cast<size_t>(i)];
        }
      }
      for (const auto& [tensor, count] : seen) {
        const bool state = tensor.ends_with(".m");
        const bool local = row == "hybrid" && mesh.nodes > 1;
        const int copies = static_cast<int>(row == "ddp" ? mesh.ranks() : local ? mesh.nodes : 1);
        for (const int times : count) {
          ASSERT_GE(times, 1) << tensor << " of " << row;
          ASSERT_EQ(state ? times : copies, copies)
              << tensor << " of " << row << " on " << mesh.nodes << "x" << mesh.local;
        }
      }
    }
  }
}

TEST(Shard, EveryRowOfEveryRankIsAProgram) {
  for (const Mesh& mesh : {Mesh{1, 2}, Mesh{1, 3}, Mesh{2, 2}, Mesh{2, 3}}) {
    for (const std::string& row : shard_rule_names()) {
      for (const char* grad_sum : {"chain", "tree"}) {
        for (int64_t rank = 0; rank < mesh.ranks(); ++rank) {
          const Program program = sharded(config_of(row, grad_sum, 2), mesh, rank, "place");
          EXPECT_NO_THROW(verify(program, test_ops())) << row << " " << grad_sum;
          EXPECT_EQ(parse(print(program)), program);
        }
      }
    }
  }
}

// All edges of a real sharded program are needed: without any one of them verify objects.
TEST(Shard, EachEdgeOfAPlacedProgramIsNeeded) {
  for (const char* row : {"zero1", "zero3", "hybrid-full"}) {
    RunConfig config = config_of(row, "chain", 3);
    config.offload = "states";
    const Program program = sharded(config, {2, 2}, 1, "place");
    verify(program, test_ops());
    EXPECT_GT(expect_each_edge_needed(program), 20) << row;
  }
}

// Units whose gathered weights are held at the same time, at most.
int64_t most_gathered(const Program& program) {
  const Order order(program);
  std::vector<int64_t> held(order.timeline().size() + 1);
  for (const Life& life : lifetimes(program, order)) {
    const std::string& name = program.buffer(life.root).name;
    if (name.ends_with(".grad") || program.find(name + ".shard") == kNone) continue;
    ++held[static_cast<size_t>(life.instances.front())];
    --held[static_cast<size_t>(life.instances.back()) + 1];
  }
  std::partial_sum(held.begin(), held.end(), held.begin());
  return *std::ranges::max_element(held);
}

// Prefetch distance d: d + 1 gathered units live, whatever the number of layers, and one more where the last layer
// stays for its backward beside the head.
TEST(Shard, PrefetchBoundsWhatIsGathered) {
  for (const int64_t layers : {4, 12}) {
    for (const int64_t prefetch : {0, 1, 2, 3}) {
      RunConfig config = config_of("zero3", "chain", layers);
      config.prefetch = prefetch;
      const int64_t gathered = most_gathered(sharded(config, {1, 2}, 0, "place"));
      EXPECT_GE(gathered, prefetch + 1);
      EXPECT_LE(gathered, prefetch + 2) << layers << " layers, prefetch " << prefetch;
    }
  }
}

TEST(Shard, NamesTheRows) {
  EXPECT_EQ(shard_rule("zero2"), (ShardRule{Cut::whole, Cut::all, Cut::all}));
  try {
    shard_rule("zero4");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace centavo::testing
