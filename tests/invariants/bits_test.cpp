// Promises 2 (placement), 3, 5, 6 and 7: what may change no bit, and what may change only the last ones.

#include <gtest/gtest.h>

#include <cstring>

#include "base/files.h"
#include "model/initialize.h"
#include "passes/differentiate.h"
#include "passes/optimize.h"
#include "passes/precision.h"
#include "passes/sections.h"
#include "program/text.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"
#include "tests/support/training_steps.h"
#include "train/step_program.h"
#include "train/token_feed.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

// Two steps of the program on random tokens from the config's first weights.
State two_steps(const Program& program, const RunConfig& config, const MachineOptions& options) {
  const auto machine = machine_for(program, options);
  initialize_parameters(*machine, config.model, 5);
  const Corpus corpus = corpus_of(config);
  TokenFeed feed(corpus, config.micro_batch, config.seq_len, 1);
  for (int64_t step = 0; step < 2; ++step) {
    for (int64_t i = 0; i < config.grad_accum_steps; ++i) {
      const int64_t index = step * config.grad_accum_steps + i;
      feed.training(*machine, index, index % token_slots(config));
    }
    const float lr = 1e-2F;
    machine->write("lr", std::as_bytes(std::span<const float>(&lr, 1)), step % 2);
    machine->step();
  }
  return state_of(*machine);
}

const std::vector<std::string> kPolicies = {"fp32", "bf16", "bf16-stochastic"};

TEST(Bits, PlacementChangesNone) {
  for (const std::string& policy : kPolicies) {
    for (const char* accumulation : {"1", "2", "4"}) {
      const RunConfig config = micro_run(fresh_directory("place"),
                                         {"precision=" + policy, fmt::format("grad_accum_steps={}", accumulation)});
      const Program program = training_program(test_ops(), config, 2, "sections");
      const auto apart = two_steps(program, config, {.debug = false, .share_addresses = false});
      EXPECT_EQ(two_steps(program, config, {.debug = false, .share_addresses = true}), apart) << policy;
      EXPECT_EQ(two_steps(program, config, {.debug = true, .share_addresses = true}), apart) << policy;
    }
  }
}

TEST(Bits, APrintedProgramRunsTheSame) {
  for (const std::string& policy : kPolicies) {
    const RunConfig config = micro_run(fresh_directory("parse"), {"precision=" + policy, "grad_accum_steps=3"});
    const Program program = training_program(test_ops(), config, 2, "sections");
    EXPECT_EQ(two_steps(parse(print(program)), config, {.debug = false}), two_steps(program, config, {.debug = false}));
  }
}

TEST(Bits, SameSeedSameThreadsSameBits) {
  for (const std::string& policy : kPolicies) {
    const RunConfig config = micro_run(fresh_directory("repeat"), {"precision=" + policy});
    const Program program = training_program(test_ops(), config, 2, "sections");
    for (const int threads : {1, 2, 3}) {
      const MachineOptions options{.threads = threads, .debug = false};
      EXPECT_EQ(two_steps(program, config, options), two_steps(program, config, options)) << threads << " threads";
    }
  }
}

// Stopped and resumed at every step, the run ends in the same bits as one that never stopped.
TEST(Bits, ResumeAtAnyStep) {
  for (const std::string& policy : kPolicies) {
    const std::vector<std::string> keys = {"precision=" + policy, "grad_accum_steps=2", "max_steps=6"};
    Trainer whole(test_ops(), micro_run(fresh_directory("whole"), keys), {});
    for (int step = 0; step < 6; ++step) whole.train_step();
    const auto expected = state_of(whole.machine());
    for (int stop = 1; stop < 6; ++stop) {
      const RunConfig config = micro_run(fresh_directory("resume"), keys);
      {
        Trainer first(test_ops(), config, {});
        for (int step = 0; step < stop; ++step) first.train_step();
        first.save();
      }
      Trainer second(test_ops(), config, {.start = TrainOptions::Start::resume});
      ASSERT_EQ(second.steps_done(), stop);
      while (second.steps_done() < 6) second.train_step();
      EXPECT_EQ(state_of(second.machine()), expected) << policy << " stopped at " << stop;
    }
  }
}

// Gradients of the sum over n micro-batches of one sequence and over one batch of n sequences. Each is a sum of the
// same terms in another order: they differ by at most (terms) roundings of the largest partial sum.
TEST(Bits, MicroBatchesAddUpToTheLargeBatch) {
  const ModelConfig model = golden_model(true);
  const int64_t n = 4;
  const int64_t seq_len = 12;
  const auto run = [&](int64_t micro_batches, int64_t masked) {
    const BatchShape batch{.sequences = n / micro_batches, .seq_len = seq_len, .slots = 2 * micro_batches};
    Program program = differentiate(training_forward(test_ops(), model, batch, 8), test_ops());
    auto machine = machine_for(sections(optimize(std::move(program), test_ops(), {}), test_ops(), micro_batches),
                               {.share_addresses = false});
    initialize_parameters(*machine, model, 3);
    const int64_t tokens = batch.tokens();
    for (int64_t m = 0; m < micro_batches; ++m) {
      std::vector<int32_t> in, out, positions, cu;
      for (int64_t i = 0; i < tokens; ++i) {
        const int64_t global = m * tokens + i;
        in.push_back(static_cast<int32_t>((7 * global + 3) % 61));
        // Targets are masked unevenly, so that a mean over micro-batches would be wrong.
        out.push_back(global < masked ? -1 : static_cast<int32_t>((11 * global + 5) % 61));
        positions.push_back(static_cast<int32_t>(i % seq_len));
      }
      for (int64_t s = 0; s <= batch.sequences; ++s) cu.push_back(static_cast<int32_t>(s * seq_len));
      const auto write = [&](const char* name, const std::vector<int32_t>& values) {
        machine->write(name, std::as_bytes(std::span(values)), m);
      };
      write("tokens", in);
      write("targets", out);
      write("positions", positions);
      write("cu_seqlens", cu);
    }
    machine->step();
    return machine;
  };
  for (const int64_t masked : {0, 9, 30}) {
    const auto large = run(1, masked);
    for (const int64_t micro_batches : {2, 4}) {
      const auto parts = run(micro_batches, masked);
      const double terms = static_cast<double>(n * seq_len);
      for (const Buffer& b : large->program().buffers) {
        if (b.kind != BufferKind::gradient) continue;
        expect_near(get_tensor(*parts, b.name), get_tensor(*large, b.name), 4 * terms * unit_roundoff(DType::f32),
                    b.name);
      }
      const auto metrics = get_tensor(*parts, "metrics");
      EXPECT_NEAR(metrics[0], get_tensor(*large, "metrics")[0], 1e-6 * metrics[0]);
      EXPECT_EQ(metrics[2], static_cast<double>(n * seq_len - masked));
    }
  }
}

}  // namespace
}  // namespace centavo::testing
