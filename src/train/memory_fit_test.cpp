#include "train/memory_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "tests/support/models.h"
#include "train/generate.h"
#include "train/step_program.h"

namespace centavo::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr int64_t kMiB = 1 << 20;

RunConfig config() {
  return micro_run(fresh_directory("fit"), {"micro_batch=64", "seq_len=256", "model.hidden_size=64"});
}

std::string refusal(const RunConfig& run, int64_t available) {
  try {
    require_memory(test_ops(), run, 1, training_program(test_ops(), run, 1), available);
  } catch (const OutOfMemory& error) {
    return error.what();
  }
  return "accepted";
}

int64_t arena(const RunConfig& run) { return training_program(test_ops(), run, 1).arena_bytes.at(Home::device); }

TEST(MemoryFit, WhatFitsIsAccepted) { EXPECT_EQ(refusal(config(), 1000 * kMiB), "accepted"); }

TEST(MemoryFit, NamesTheNearestPlansThatFit) {
  const RunConfig run = config();
  RunConfig half = run;
  half.micro_batch /= 2;
  half.grad_accum_steps *= 2;
  ASSERT_LT(arena(half), arena(run));
  const std::string said = refusal(run, arena(run) + 64 * kMiB - 1);
  EXPECT_THAT(said, AllOf(HasSubstr("micro_batch=32 grad_accum_steps=2 needs"), HasSubstr("recompute=attention needs"),
                          HasSubstr("by region:"), HasSubstr("parameter")));
}

// A deep model at its smallest micro-batch: there is only recompute, and the cheapest mode that fits is named.
TEST(MemoryFit, NamesTheCheapestRecomputeThatFits) {
  RunConfig run = config();
  run.micro_batch = 1;
  run.model.num_hidden_layers = 12;
  run.validation_every = 0;
  RunConfig replayed = run;
  replayed.recompute = "attention";
  ASSERT_LT(arena(replayed), arena(run));
  const std::string said = refusal(run, arena(replayed) + 64 * kMiB);
  EXPECT_THAT(said, AllOf(HasSubstr("recompute=attention needs"), Not(HasSubstr("recompute=cheap"))));
}

// Samples need a cache and logits of their own.
TEST(MemoryFit, CountsTheProgramsThatWriteSamples) {
  RunConfig run = config();
  run.validation_every = 0;
  run.sample_tokens = 200;
  const GenerationPrograms programs = sampling_programs(test_ops(), run, 1);
  const int64_t samples = programs.decode.arena_bytes.at(Home::device) + programs.prefill.arena_bytes.at(Home::device);
  ASSERT_GT(samples, 0);
  const int64_t needed = arena(run) + samples + 64 * kMiB;
  EXPECT_EQ(refusal(run, needed), "accepted");
  EXPECT_THAT(refusal(run, needed - 1), HasSubstr("by region:"));
}

TEST(MemoryFit, SaysWhenNoMicroBatchFits) {
  EXPECT_THAT(refusal(config(), 65 * kMiB), HasSubstr("no smaller micro_batch fits"));
}

// What require_disk says of a run with everything offloaded, `ranks` of them.
std::string disk_refusal(const Program& training, int64_t ranks, int64_t free_bytes) {
  try {
    require_disk(training, ranks, "runs/mine", free_bytes);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(MemoryFit, WhatIsOffloadedMustFitOntoTheDisk) {
  RunConfig run = config();
  run.offload = "all";
  const Program training = training_program(test_ops(), run, 1);
  const int64_t arena = training.arena_bytes.at(Home::host);
  ASSERT_GT(arena, kMiB);
  EXPECT_EQ(disk_refusal(training, 3, 3 * arena), "accepted");
  EXPECT_THAT(disk_refusal(training, 1, arena - 1), AllOf(HasSubstr("in runs/mine (a file)"), HasSubstr("out=DIR")));
  EXPECT_THAT(disk_refusal(training, 3, 3 * arena - 1), HasSubstr("(3 files of "));
}

TEST(MemoryFit, NothingOffloadedNeedsNoDisk) {
  EXPECT_EQ(disk_refusal(training_program(test_ops(), config(), 1), 4, 0), "accepted");
}

TEST(MemoryFit, AsksTheDiskOfADirectoryThatIsNotThereYet) {
  EXPECT_GT(free_bytes_for(fresh_directory("disk") + "/not/there/yet"), 0);
  EXPECT_GT(free_bytes_for("not there yet"), 0);
}

}  // namespace
}  // namespace centavo::testing
