// Promise 4 for GPT-2: logits, loss and every gradient agree with transformers. The files and the script that made them
// stand in tests/golden; bounds are derived in docs/numerics.md.

#include <gtest/gtest.h>

#include <cmath>

#include "passes/differentiate.h"
#include "passes/precision.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

struct Case {
  const char* file;
  int64_t max_docs;
};

const std::vector<Case> kCases = {{"gpt2_batch.safetensors", 2}, {"gpt2_packed.safetensors", 6}};

// The training forward with the logits as a further output.
Program forward_with_logits(const Case& c) {
  const BatchShape batch{.sequences = 2, .seq_len = 12, .max_docs = c.max_docs};
  Program program = training_forward(test_ops(), golden_gpt2_model(true), batch, 7);
  const Op& loss = program.sections[0].ops.back();
  Op logits;
  logits.id = logits.logical = program.next_op_id();
  logits.kind = "linear";
  logits.inputs = {loss.inputs[0], loss.inputs[1]};
  logits.attributes = {{"scale", 1.0}};
  logits.outputs = {{program.add({.name = "logits", .shape = {24, 61}, .kind = BufferKind::stream_out}), Bind::write}};
  program.sections[0].ops.push_back(logits);
  return program;
}

std::unique_ptr<CpuMachine> gradients_of(const Case& c, const SafetensorsFile& golden, const std::string& policy) {
  Program program = differentiate(forward_with_logits(c), test_ops());
  auto machine = machine_for(precision(std::move(program), test_ops(), precision_policy(policy)),
                             {.threads = 2, .debug = true, .share_addresses = false});
  load(*machine, golden, "in/");
  load(*machine, golden, "w/");
  machine->step();
  return machine;
}

void expect_gradients_within(const CpuMachine& machine, const SafetensorsFile& golden, double bound) {
  for (const Buffer& b : machine.program().buffers) {
    if (b.kind != BufferKind::parameter) continue;
    EXPECT_LT(relative_norm(get_tensor(machine, b.name + ".grad"), golden_values(golden, "g/" + b.name)), bound)
        << b.name;
  }
}

TEST(Gpt2Golden, Fp32) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.file);
    const SafetensorsFile golden(golden_path(c.file));
    const auto machine = gradients_of(c, golden, "fp32");
    EXPECT_LT(relative_norm(get_tensor(*machine, "logits"), golden_values(golden, "f32/logits")), 1e-5);
    EXPECT_LT(relative_norm(get_tensor(*machine, "loss"), golden_values(golden, "f32/loss")), 1e-5);
    EXPECT_EQ(get_tensor(*machine, "count"), golden_values(golden, "f32/count"));
    expect_gradients_within(*machine, golden, 1e-5);
  }
}

// docs/numerics.md: 22 L + 9 roundings add up as a random walk, magnified at most 2 (logits) and 3.2 (gradients) times.
// Beside the exact answer, PyTorch's in bf16 keeps the bound honest.
TEST(Gpt2Golden, Bf16) {
  const double u = unit_roundoff(DType::bf16);
  const double roundings = 22 * 2 + 9;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.file);
    const SafetensorsFile golden(golden_path(c.file));
    const auto machine = gradients_of(c, golden, "bf16");
    const auto exact = golden_values(golden, "f32/logits");
    const double ours = relative_norm(get_tensor(*machine, "logits"), exact);
    EXPECT_LT(ours, 2 * std::sqrt(roundings) * u);
    EXPECT_LT(ours, 1.25 * relative_norm(golden_values(golden, "bf16/logits"), exact));
    expect_gradients_within(*machine, golden, 3.2 * std::sqrt(2 * roundings) * u);
  }
}

}  // namespace
}  // namespace centavo::testing
