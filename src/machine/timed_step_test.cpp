// Machine::timed_step: the same bits as `step`, and times that add up to it.

#include <gtest/gtest.h>

#include <chrono>

#include "machine/make_machine.h"
#include "machine/virtual/virtual_machine.h"
#include "plan/probe.h"
#include "plan/random_run.h"
#include "tests/support/cuda_check.h"
#include "tests/support/models.h"
#include "train/step_program.h"

namespace centavo {
namespace {

Worker worker_on(DeviceKind device) {
  Worker worker(2);
  if (device == DeviceKind::cuda) worker.use("cuda", true);
  return worker;
}

std::unique_ptr<Machine> machine_for(const RunConfig& config, DeviceKind device) {
  const Worker worker = worker_on(device);
  auto machine = make_machine(training_program(testing::test_ops(), config, worker), testing::test_ops(),
                              worker.machine_options());
  begin_random_run(*machine, config);
  feed_random_tokens(*machine, config, 1);
  return machine;
}

// Loss, norm, count and flag of a step; waits for it.
std::array<float, 4> metrics_of(const Machine& machine, int64_t step) {
  const Buffer& b = machine.program().buffer(machine.program().find("metrics"));
  std::array<float, 4> metrics = {};
  machine.read("metrics", std::as_writable_bytes(std::span(metrics)), step % (b.ring ? b.ring->slots : 1));
  return metrics;
}

void expect_every_op_once(const Program& program, const std::vector<Span>& spans) {
  size_t next = 0;
  int64_t index = 0;
  ASSERT_EQ(spans.size(), ops_in_step(program));
  for (const Call& call : program.step) {
    for (int64_t i = 0; i < call.times; ++i, ++index) {
      for (const Op& op : program.find_section(call.section)->ops) {
        EXPECT_EQ(spans[next].op, &op);
        EXPECT_EQ(spans[next].call, index);
        EXPECT_GE(spans[next].seconds(), 0);
        ++next;
      }
    }
  }
}

void expect_same_bits(DeviceKind device) {
  const RunConfig config = probe_config({64, 128, 2, 32, 2, 128, 3}, "bf16");
  const std::unique_ptr<Machine> plain = machine_for(config, device);
  const std::unique_ptr<Machine> timed = machine_for(config, device);
  for (int64_t step = 0; step < 5; ++step) {
    plain->step();
    expect_every_op_once(timed->program(), timed->timed_step());
    EXPECT_EQ(metrics_of(*plain, step), metrics_of(*timed, step)) << step;
  }
}

TEST(TimedStep, ComputesTheSameBits) { expect_same_bits(DeviceKind::cpu); }

TEST(TimedStepCuda, ComputesTheSameBits) {
  NEEDS_GPU();
  expect_same_bits(DeviceKind::cuda);
}

constexpr int64_t kMicroBatches = 3;

// Large enough that an event behind each op does not show; 50 % is for the clock, which changes under load.
TEST(TimedStepCuda, OpsTakeAsLongAsTheStep) {
  NEEDS_GPU();
  RunConfig config = probe_config({1024, 2816, 16, 1024, 8, 32000, 2}, "bf16");
  config.documents = "joined";
  config.grad_accum_steps = kMicroBatches;
  const std::unique_ptr<Machine> machine = machine_for(config, DeviceKind::cuda);
  constexpr int64_t kWarmUp = 5;
  constexpr int64_t kSteps = 20;
  for (int64_t i = 0; i < kWarmUp; ++i) machine->step();
  metrics_of(*machine, 0);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < kSteps; ++i) machine->step();
  metrics_of(*machine, 0);
  const double step = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / kSteps;
  const std::vector<Span> spans = machine->timed_step();
  EXPECT_GT(end_of(spans), step / 1.5);
  EXPECT_LT(end_of(spans), step * 1.5);
  for (const KindTime& kind : by_kind(spans)) EXPECT_GT(kind.seconds, 0) << kind.kind;
  // Each call has its own times: were they those of another, it would take nothing or all of the step.
  std::vector<double> of_call;
  for (const Span& span : spans) {
    of_call.resize(static_cast<size_t>(span.call) + 1);
    of_call.back() += span.seconds();
  }
  ASSERT_GE(of_call.size(), size_t{kMicroBatches});
  for (int64_t i = 0; i < kMicroBatches; ++i) {
    EXPECT_GT(of_call[static_cast<size_t>(i)], step / kMicroBatches / 4) << "micro-batch " << i;
    EXPECT_LT(of_call[static_cast<size_t>(i)], step / kMicroBatches * 1.5) << "micro-batch " << i;
  }
}

// Seconds of a plain step and of the ops of a timed one, in turns: the clock drifts.
std::pair<double, double> step_and_ops(Machine& machine) {
  constexpr int64_t kRounds = 10;
  constexpr int64_t kSteps = 50;
  double plain = 0;
  double ops = 0;
  for (int64_t round = 0; round < kRounds; ++round) {
    machine.step();
    metrics_of(machine, 0);
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < kSteps; ++i) machine.step();
    metrics_of(machine, 0);
    plain += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / kSteps;
    machine.step();  // keeps the GPU at work while the timed one is made ready
    ops += end_of(machine.timed_step());
  }
  return {plain / kRounds, ops / kRounds};
}

// Ops of some five microseconds, each with an event of about one: charged with it, their sum would be 15 % too large
// and more.
TEST(TimedStepCuda, EventsAreNotCharged) {
  NEEDS_GPU();
  RunConfig config = probe_config({768, 2048, 12, 512, 2, 8192, 2}, "bf16");
  config.documents = "joined";
  config.model.num_hidden_layers = 8;
  const std::unique_ptr<Machine> machine = machine_for(config, DeviceKind::cuda);
  for (int64_t i = 0; i < 100; ++i) machine->step();
  machine->timed_step();
  const auto [step, ops] = step_and_ops(*machine);
  EXPECT_NEAR(ops, step, 0.1 * step) << ops_in_step(machine->program()) << " ops";
}

}  // namespace
}  // namespace centavo
