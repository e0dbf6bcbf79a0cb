// Promise 4 for GPT-2: logits, loss and every gradient agree with transformers. The files and the script that made them
// stand in tests/golden; bounds are derived in docs/numerics.md.

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/golden_run.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

struct Case {
  const char* file;
  int64_t max_docs;
};

const std::vector<Case> kCases = {{"gpt2_batch.safetensors", 2}, {"gpt2_packed.safetensors", 6}};

std::unique_ptr<CpuMachine> gradients_of(const Case& c, const SafetensorsFile& golden, const std::string& policy) {
  const BatchShape batch{.sequences = 2, .seq_len = 12, .max_docs = c.max_docs};
  return run_golden(with_logits(training_forward(test_ops(), golden_gpt2_model(true), batch, 7)), golden, policy);
}

TEST(Gpt2Golden, Fp32) {
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

// docs/numerics.md: 18 L + 7 roundings add up as a random walk, magnified at most 2 (logits) and 3.2 (gradients) times.
// Beside the exact answer, PyTorch's in bf16 keeps the bound honest.
TEST(Gpt2Golden, Bf16) {
  const double u = unit_roundoff(DType::bf16);
  const double roundings = 18 * 2 + 7;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.file);
    const SafetensorsFile golden(golden_path(c.file));
    const auto machine = gradients_of(c, golden, "bf16");
    const auto exact = golden_values(golden, "f32/logits");
    const double ours = relative_norm(get_tensor(*machine, "logits"), exact);
    EXPECT_LT(ours, 2 * std::sqrt(roundings) * u);
    EXPECT_LT(ours, 1.25 * relative_norm(golden_values(golden, "bf16/logits"), exact));
    expect_golden_gradients(*machine, golden, 3.2 * std::sqrt(2 * roundings) * u);
  }
}

}  // namespace
}  // namespace centavo::testing
