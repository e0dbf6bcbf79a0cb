// Promise 4, the rest: every gradient of a whole model against central differences in f64, and the mutation test: with
// the sign of any output of any backward op flipped, that comparison fails.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/rng.h"
#include "model/initialize.h"
#include "passes/differentiate.h"
#include "passes/place.h"
#include "passes/precision.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

constexpr int64_t kTokens = 10;

ModelConfig tiny(ModelConfig c) {
  c.vocab_size = 13;
  c.hidden_size = 8;
  c.intermediate_size = 6;
  c.num_attention_heads = 2;
  c.num_key_value_heads = c.model_type == "gpt2" ? 2 : 1;
  c.head_dim = 4;
  c.attention_bias = c.attention_output_bias = c.mlp_bias = true;
  c.initializer_range = 0.4;
  return c;
}

void fill(Machine& machine, const ModelConfig& model) {
  initialize_parameters(machine, model, 9);
  set_tensor(machine, "tokens", {1, 5, 12, 0, 5, 5, 3, 7, 2, 9});
  set_tensor(machine, "targets", {5, 12, 0, 5, -1, 3, 7, 2, 9, 4});
  set_tensor(machine, "positions", {0, 1, 2, 3, 0, 1, 2, 3, 4, 5});
  set_tensor(machine, "cu_seqlens", {0, 4, 10, 10});
}

std::unique_ptr<CpuMachine> machine_with(const Program& program, const OpTable& table, const ModelConfig& model) {
  Program p = precision(program, table, precision_policy("fp64"));
  p = place(add_cpu_workspaces(std::move(p), table, {1}),
            {.red_zone_bytes = 0, .borrow = {}, .share_addresses = false});
  auto machine = std::make_unique<CpuMachine>(std::move(p), table, CpuMachine::Options{.threads = 1});
  fill(*machine, model);
  machine->step();
  return machine;
}

std::vector<double> direction_of(const Buffer& b) { return random_values("direction of " + b.name, b.elements()); }

// Derivative of the loss along a random direction of each parameter, by central differences.
std::map<std::string, double> numeric_derivatives(const Program& forward, const ModelConfig& model) {
  constexpr double kStep = 2e-6;
  std::map<std::string, double> result;
  const auto machine = machine_with(forward, test_ops(), model);
  for (const Buffer& b : machine->program().buffers) {
    if (b.kind != BufferKind::parameter) continue;
    const auto value = get_tensor(*machine, b.name);
    const auto direction = direction_of(b);
    const auto loss_at = [&](double h) {
      auto moved = value;
      for (size_t i = 0; i < moved.size(); ++i) moved[i] += h * direction[i];
      set_tensor(*machine, b.name, moved);
      machine->step();
      return get_tensor(*machine, "loss")[0];
    };
    result[b.name] = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
    set_tensor(*machine, b.name, value);
  }
  return result;
}

class GradientRules : public ::testing::TestWithParam<ModelConfig> {
 protected:
  // The largest difference between the gradient rules and central differences, relative to the derivative.
  double worst_error(const Program& program, const OpTable& table) const {
    const auto machine = machine_with(program, table, model_);
    double worst = 0;
    for (const auto& [name, expected] : derivatives_) {
      const auto gradient = get_tensor(*machine, name + ".grad");
      const auto direction = direction_of(machine->program().buffer(machine->program().find(name)));
      double derivative = 0;
      for (size_t i = 0; i < gradient.size(); ++i) derivative += gradient[i] * direction[i];
      const double error = std::fabs(derivative - expected) / std::max(1.0, std::fabs(expected));
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
    return worst;
  }

  Program differentiated() const { return differentiate(forward_, test_ops()); }

 private:
  const ModelConfig model_ = GetParam();
  const Program forward_ = training_forward(test_ops(), model_, {.sequences = 1, .seq_len = kTokens, .max_docs = 3}, 4);
  const std::map<std::string, double> derivatives_ = numeric_derivatives(forward_, model_);
};

INSTANTIATE_TEST_SUITE_P(Models, GradientRules,
                         ::testing::Values(tiny(golden_model(true)), tiny(golden_gpt2_model(true))),
                         [](const auto& given) { return given.param.model_type; });

constexpr double kTolerance = 1e-7;

TEST_P(GradientRules, WholeModelAgainstCentralDifferences) {
  EXPECT_LT(worst_error(differentiated(), test_ops()), kTolerance);
}

// The table with one output of one kind of op negated after its kernel has run (an added output: what it added).
OpTable with_flipped_sign(const std::string& kind, size_t output) {
  std::vector<OpDef> rows = test_ops().rows();
  static const OpDef* original = nullptr;  // kernels are plain functions: the mutant finds its original here
  static size_t flipped = 0;
  original = &test_ops().at(kind);
  flipped = output;
  for (OpDef& def : rows) {
    if (def.kind != kind) continue;
    def.cpu = [](const OpView& v, const CpuTraits& traits) -> CpuKernel {
      const CpuKernel kernel = original->cpu(v, traits);
      const size_t at = flipped;
      if (!v.has_output(at)) return kernel;
      const int64_t n = v.output(at).elements();
      const bool adds = v.adds(at);
      return [kernel, at, n, adds](const CpuCall& call) {
        auto* y = call.out<double>(at);
        const std::vector<double> before(y, y + n);
        kernel(call);
        for (int64_t i = 0; i < n; ++i) y[i] = adds ? 2 * before[static_cast<size_t>(i)] - y[i] : -y[i];
      };
    };
  }
  return OpTable(std::move(rows));
}

TEST_P(GradientRules, AnyFlippedSignIsCaught) {
  const Program program = differentiated();
  std::set<std::pair<std::string, size_t>> mutants;
  for (const Op& op : program.sections[0].ops) {
    if (op.stage != Stage::backward) continue;
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      const BufferId id = op.outputs[i].buffer;
      if (id == kNone || program.buffer(id).kind == BufferKind::control) continue;  // loss and count
      mutants.insert({op.kind, i});
    }
  }
  EXPECT_GE(mutants.size(), 11U);
  for (const auto& [kind, output] : mutants) {
    const OpTable table = with_flipped_sign(kind, output);
    EXPECT_GT(worst_error(program, table), 1000 * kTolerance) << kind << " output " << output;
  }
}

// The same for the rules themselves: each backward op left out of the program.
TEST_P(GradientRules, AnyMissingContributionIsCaught) {
  const Program program = differentiated();
  int mutants = 0;
  for (size_t o = 0; o < program.sections[0].ops.size(); ++o) {
    const Op& op = program.sections[0].ops[o];
    if (op.stage != Stage::backward || op.kind == "lm_head_loss_grad") continue;
    Program mutant = program;
    mutant.sections[0].ops.erase(mutant.sections[0].ops.begin() + static_cast<int64_t>(o));
    EXPECT_GT(worst_error(mutant, test_ops()), 1000 * kTolerance) << op.kind << " %" << op.id;
    ++mutants;
  }
  EXPECT_GT(mutants, 25);
}

}  // namespace
}  // namespace centavo::testing
