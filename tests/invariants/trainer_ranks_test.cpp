// A run on several ranks measures what the run on one measures.

#include <gtest/gtest.h>

#include <mutex>

#include "base/errors.h"
#include "machine/comm/threads.h"
#include "tests/support/models.h"
#include "train/generate.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

RunConfig config_of(const std::string& row, const std::string& grad_sum = "tree") {
  return micro_run(fresh_directory("trainer ranks"),
                   {"precision=bf16", "grad_accum_steps=4", "grad_sum=" + grad_sum, "shard=" + row, "micro_batch=2",
                    "validation_windows=7", "threads=1", "sample_tokens=12"});
}

struct Seen {
  Validation first;
  Validation last;
  std::vector<float> losses;
  std::string sample;
};

Seen watch(Trainer& trainer, const RunConfig& config, Communicator& world) {
  Seen seen;
  seen.first = trainer.validate(7);
  for (int i = 0; i < 3; ++i) seen.losses.push_back(trainer.train_step().loss);
  seen.last = trainer.validate(1000);
  const GenerationSettings settings{.max_tokens = 12, .draw = {.temperature = 0.9}, .seed = 3};
  const Corpus corpus = open_corpus(config.out + "/data");
  seen.sample =
      sample_text(test_ops(), config, Worker(1, world), trainer.machine(), corpus.tokenizer, "line 1", settings);
  return seen;
}

// What every rank has seen.
std::vector<Seen> watch_world(const RunConfig& config, int64_t ranks) {
  ThreadWorld world(ranks);
  std::vector<Seen> seen(static_cast<size_t>(ranks));
  world.run([&](Communicator& rank) {
    Trainer trainer(test_ops(), config, {.world = &rank});
    seen[static_cast<size_t>(rank.rank())] = watch(trainer, config, rank);
  });
  return seen;
}

void expect_same(const Seen& a, const Seen& b, const std::string& where) {
  EXPECT_EQ(a.losses, b.losses) << where;
  for (const auto& [x, y] : {std::pair(a.first, b.first), std::pair(a.last, b.last)}) {
    EXPECT_EQ(x.nats_per_token, y.nats_per_token) << where;
    EXPECT_EQ(x.bits_per_byte, y.bits_per_byte) << where;
    EXPECT_EQ(x.tokens, y.tokens) << where;
  }
  EXPECT_EQ(a.sample, b.sample) << where;
}

TEST(TrainerRanks, MeasureWhatOneMeasures) {
  const Seen alone = watch_world(config_of("ddp"), 1)[0];
  EXPECT_GT(alone.first.tokens, 0);
  EXPECT_FALSE(alone.sample.empty());
  for (const char* row : {"ddp", "zero1", "zero3"}) {
    for (const int64_t ranks : {2, 4}) {
      const auto where = fmt::format("{} on {} ranks", row, ranks);
      for (const Seen& seen : watch_world(config_of(row), ranks)) expect_same(seen, alone, where);
    }
  }
}

std::string refusal(const RunConfig& config, int64_t ranks, const std::function<void(RunConfig&, int64_t)>& change) {
  ThreadWorld world(ranks);
  try {
    world.run([&](Communicator& rank) {
      RunConfig own = config;
      change(own, rank.rank());
      const Trainer trainer(test_ops(), own, {.world = &rank});
    });
  } catch (const std::exception& error) {
    return error.what();
  }
  return "accepted";
}

TEST(TrainerRanks, WhoDisagreesIsNamed) {
  const RunConfig config = config_of("ddp", "chain");
  const auto other = [&](const std::string& what, const std::function<void(RunConfig&)>& change) {
    const std::string said = refusal(config, 3, [&](RunConfig& own, int64_t rank) {
      if (rank == 2) change(own);
    });
    EXPECT_NE(said.find("rank 2"), std::string::npos) << said;
    EXPECT_NE(said.find(what), std::string::npos) << said;
  };
  other("another configuration", [](RunConfig& own) { own.learning_rate *= 2; });
  other("another program", [](RunConfig& own) { own.eps *= 2; });
}

TEST(TrainerRanks, MoreRanksThanMicroBatchesAreRefused) {
  const std::string said = refusal(config_of("ddp", "chain"), 5, [](RunConfig&, int64_t) {});
  EXPECT_NE(said.find("grad_accum_steps = 5"), std::string::npos) << said;
}

}  // namespace
}  // namespace centavo::testing
