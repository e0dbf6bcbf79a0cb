// Promise 4: logits, loss and every gradient agree with PyTorch. The files and the script that made them stand in
// tests/golden; bounds are derived in docs/numerics.md.

#include <gtest/gtest.h>

#include <cmath>

#include "ops/linear/linear.h"
#include "passes/differentiate.h"
#include "passes/optimize.h"
#include "passes/sections.h"
#include "tests/support/golden_run.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

struct Case {
  const char* file;
  bool tied;
  int64_t max_docs;
  int64_t window = 0;
};

const std::vector<Case> kCases = {{"llama_tied_batch.safetensors", true, 2},
                                  {"llama_tied_packed.safetensors", true, 6},
                                  {"llama_untied_batch.safetensors", false, 2},
                                  {"llama_untied_packed.safetensors", false, 6},
                                  {"llama_untied_window.safetensors", false, 2, 4}};

BatchShape batch_of(const Case& c) { return {.sequences = 2, .seq_len = 12, .max_docs = c.max_docs, .slots = 1}; }

std::unique_ptr<CpuMachine> gradients_of(const Case& c, const SafetensorsFile& golden, const std::string& policy) {
  Program forward = training_forward(test_ops(), golden_model(c.tied, c.window), batch_of(c), 7);
  return run_golden(with_logits(std::move(forward)), golden, policy);
}

TEST(LlamaGolden, Fp32) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.file);
    const SafetensorsFile golden(golden_path(c.file));
    const auto machine = gradients_of(c, golden, "fp32");
    EXPECT_LT(relative_norm(get_tensor(*machine, "logits"), golden_values(golden, "f32/logits")), 1e-5);
    EXPECT_LT(relative_norm(get_tensor(*machine, "loss"), golden_values(golden, "f32/loss")), 1e-5);
    EXPECT_EQ(get_tensor(*machine, "count"), golden_values(golden, "f32/count"));
    expect_golden_gradients(*machine, golden, 1e-5);
  }
}

// docs/numerics.md: 15 L + 5 roundings add up as a random walk, magnified at most 2 (logits) and 3.2 (gradients) times.
TEST(LlamaGolden, Bf16) {
  const double u = unit_roundoff(DType::bf16);
  const double roundings = 15 * 2 + 5;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.file);
    const SafetensorsFile golden(golden_path(c.file));
    const auto machine = gradients_of(c, golden, "bf16");
    EXPECT_LT(relative_norm(get_tensor(*machine, "logits"), golden_values(golden, "f32/logits")),
              2 * std::sqrt(roundings) * u);
    expect_golden_gradients(*machine, golden, 3.2 * std::sqrt(2 * roundings) * u);
  }
}

// PyTorch in bf16 is as far from the exact answer as we are: neither hides behind a wide bound.
TEST(LlamaGolden, Bf16IsNoWorseThanPyTorch) {
  for (const Case& c : kCases) {
    const SafetensorsFile golden(golden_path(c.file));
    if (c.window > 0) continue;  // the script keeps no bf16 answer of it
    const auto machine = gradients_of(c, golden, "bf16");
    const auto exact = golden_values(golden, "f32/logits");
    const double ours = relative_norm(get_tensor(*machine, "logits"), exact);
    const double theirs = relative_norm(golden_values(golden, "bf16/logits"), exact);
    EXPECT_LT(ours, 1.25 * theirs) << c.file;
  }
}

TEST(LlamaGolden, TenStepsOfAdamW) {
  for (const Case& c : {kCases[0], kCases[3]}) {
    SCOPED_TRACE(c.file);
    const SafetensorsFile golden(golden_path(c.file));
    Program program = differentiate(training_forward(test_ops(), golden_model(c.tied), batch_of(c), 7), test_ops());
    program = optimize(std::move(program), test_ops(), {});
    const auto machine = machine_for(sections(std::move(program), test_ops(), 1));
    load(*machine, golden, "in/");
    load(*machine, golden, "w/");
    const auto tokens = golden_values(golden, "adamw/tokens");
    const auto targets = golden_values(golden, "adamw/targets");
    const auto losses = golden_values(golden, "adamw/losses");
    const auto norms = golden_values(golden, "adamw/norms");
    for (size_t step = 0; step < 10; ++step) {
      const auto row = [&](const std::vector<double>& all) {
        return std::vector<double>(all.begin() + static_cast<int64_t>(step) * 24,
                                   all.begin() + static_cast<int64_t>(step) * 24 + 24);
      };
      set_tensor(*machine, "tokens", row(tokens));
      set_tensor(*machine, "targets", row(targets));
      const float lr = 1e-2F;
      machine->write("lr", std::as_bytes(std::span<const float>(&lr, 1)), static_cast<int64_t>(step) % 2);
      machine->step();
      const auto metrics = get_tensor(*machine, "metrics", static_cast<int64_t>(step) % 2);
      EXPECT_NEAR(metrics[0], losses[step], 2e-5 * losses[step]) << "loss of step " << step;
      EXPECT_NEAR(metrics[1], norms[step], 5e-5 * norms[step]) << "gradient norm of step " << step;
      EXPECT_EQ(metrics[3], 1);
    }
    for (const Buffer& b : machine->program().buffers) {
      if (b.kind != BufferKind::parameter) continue;
      EXPECT_LT(relative_norm(get_tensor(*machine, b.name), golden_values(golden, "adamw/final/" + b.name)), 5e-5)
          << b.name;
    }
  }
}

}  // namespace
}  // namespace centavo::testing
