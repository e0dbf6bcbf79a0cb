#include "tests/support/training_steps.h"

#include <gtest/gtest.h>

#include <span>

#include "machine/virtual/virtual_machine.h"
#include "model/initialize.h"
#include "program/verify.h"
#include "tests/support/models.h"
#include "train/run_state.h"
#include "train/token_feed.h"

namespace centavo::testing {
namespace {

constexpr int64_t kSteps = 5;
constexpr int64_t kSlots = 2;  // of the rings `lr` and `metrics`

float loss_of(const Machine& machine, int64_t slot) {
  float metrics[4];
  machine.read("metrics", std::as_writable_bytes(std::span(metrics)), slot);
  EXPECT_EQ(metrics[3], 1) << "something is not finite";
  return metrics[0];
}

}  // namespace

State state_of(const Machine& machine) {
  State state;
  for (const StatePart& part : state_parts(machine)) state[part.tensor] = bytes_of(part.bytes);
  return state;
}

Worker worker_for(const RunConfig& config) {
  static const std::string tuning_directory = fresh_directory("tuning");
  Worker worker(2);
  worker.use(config.device, config.deterministic);
  worker.tuning_directory = tuning_directory;
  return worker;
}

Trained trained(const Program& program, const RunConfig& config, const Corpus& corpus, const Worker& worker) {
  verify(program, test_ops());
  const auto machine = make_machine(program, test_ops(), worker.machine_options());
  initialize_parameters(*machine, config.model, 5);
  TokenFeed feed(corpus, config);
  Trained result;
  for (int64_t step = 0; step < kSteps; ++step) {
    for (int64_t i = 0; i < config.grad_accum_steps; ++i) {
      const int64_t index = step * config.grad_accum_steps + i;
      feed.training(*machine, index, index % token_slots(config));
    }
    const float lr = 1e-2F;
    machine->write("lr", std::as_bytes(std::span<const float>(&lr, 1)), step % kSlots);
    step + 1 == kSteps ? static_cast<void>(machine->timed_step()) : machine->step();
    result.losses.push_back(loss_of(*machine, step % kSlots));
  }
  result.state = state_of(*machine);
  return result;
}

void expect_same_bits(const Trained& a, const Trained& b, const std::string& what) {
  EXPECT_LT(b.losses.back(), b.losses.front()) << what;
  EXPECT_EQ(a.losses, b.losses) << what;
  ASSERT_EQ(a.state.size(), b.state.size()) << what;
  for (const auto& [tensor, bytes] : b.state) {
    ASSERT_TRUE(a.state.contains(tensor)) << what << ": " << tensor;
    ASSERT_TRUE(a.state.at(tensor) == bytes) << what << ": " << tensor << " has other bits";
  }
}

}  // namespace centavo::testing
