// Promise 1 on a GPU: what is planned is what is used.

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "machine/cuda/gpu.h"
#include "machine/virtual/virtual_machine.h"
#include "tests/support/cuda_check.h"
#include "tests/support/models.h"
#include "tests/support/training_steps.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

using Strings = std::vector<std::string>;

RunConfig run_of(Strings keys) {
  keys.insert(keys.end(),
              {"device=cuda", "validation_every=0", "precision=bf16", "documents=joined", "warmup_steps=0"});
  return micro_run(fresh_directory("gpu memory"), keys);
}

// 200 million parameters and their activations: 4 to 6 GiB, of which 2 % are more than the driver rounds up.
Strings large(Strings keys) {
  keys.insert(keys.end(), {"model.hidden_size=1024", "model.intermediate_size=4096", "model.num_hidden_layers=12",
                           "model.num_attention_heads=16", "model.num_key_value_heads=16", "seq_len=512",
                           "micro_batch=8", "loss_chunk=4096", "learning_rate=1e-4"});
  return keys;
}

int64_t free_bytes() { return open_gpu(0).free_bytes; }

struct Memory {
  int64_t planned = 0;
  int64_t used = 0;  // what the GPU has less of while the run lives
};

// A training process after its steps of every kind.
Memory memory_of(const RunConfig& config) {
  const int64_t before = free_bytes();
  Trainer trainer(test_ops(), config, {.tuning_directory = worker_for(config).tuning_directory});
  for (int i = 0; i < 3; ++i) trainer.train_step();
  trainer.machine().timed_step();
  return {trainer.machine().program().arena_bytes.at(Home::device), before - free_bytes()};
}

// `runtime`, what the libraries take, is measured beside a small run; it stays for the next.
TEST(PlannedUsedCuda, DeviceMemoryIsThePlan) {
  NEEDS_GPU();
  const Memory small = memory_of(run_of({"model.num_hidden_layers=1"}));
  const auto runtime = static_cast<double>(small.used - small.planned);
  EXPECT_LT(runtime, 512 << 20);
  for (const Strings& technique : {Strings{}, {"recompute=full"}, {"offload=all", "grad_accum_steps=2"}}) {
    const Memory memory = memory_of(run_of(large(technique)));
    EXPECT_GT(memory.planned, int64_t{1} << 30);
    const auto planned = static_cast<double>(memory.planned);
    const auto used = static_cast<double>(memory.used);
    EXPECT_GE(used, 0.98 * planned) << fmt::format("{}", fmt::join(technique, " "));
    EXPECT_LE(used, 1.02 * planned + runtime) << fmt::format("{}", fmt::join(technique, " "));
  }
}

// The first two steps load kernels and make graphs, the first timed one its own. From then on nothing is allocated: no
// bytes are gone after so many steps that the smallest allocation in each would show.
TEST(PlannedUsedCuda, AStepAllocatesNothing) {
  NEEDS_GPU();
  constexpr int64_t kSteps = 5000;  // of 512 bytes at least: more than the 2 MiB that the driver takes at a time
  const RunConfig config = run_of({"model.num_hidden_layers=1", "grad_accum_steps=2"});
  Trainer trainer(test_ops(), config, {.tuning_directory = worker_for(config).tuning_directory});
  for (int i = 0; i < 2; ++i) trainer.train_step();  // fills every slot of the rings
  Machine& machine = trainer.machine();
  const auto some = [&](int64_t steps) {
    for (int64_t i = 0; i < steps; ++i) machine.step();
    machine.timed_step();  // waits
  };
  some(100);
  const int64_t before = free_bytes();
  some(kSteps);
  EXPECT_EQ(free_bytes(), before);
}

// Arenas and workspaces start as NaN, which would reach the loss or the gradient's norm.
TEST(PlannedUsedCuda, NothingIsReadThatWasNotWritten) {
  NEEDS_GPU();
  for (const char* precision : {"precision=fp32", "precision=bf16", "precision=bf16-stochastic"}) {
    for (const char* accumulation : {"grad_accum_steps=1", "grad_accum_steps=3"}) {
      for (const char* tied : {"model.tie_word_embeddings=true", "model.tie_word_embeddings=false"}) {
        const RunConfig config = micro_run(fresh_directory("poison"),
                                           {"device=cuda", precision, accumulation, tied, "validation_every=0",
                                            "model.attention_bias=true", "model.sliding_window=5", "loss_chunk=7"});
        TrainOptions options;
        options.debug = true;
        Trainer trainer(test_ops(), config, options);
        EXPECT_NO_THROW(trainer.train_step()) << precision << " " << accumulation << " " << tied;
      }
    }
  }
}

}  // namespace
}  // namespace centavo::testing
