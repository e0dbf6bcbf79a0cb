#include "tests/support/loss_band.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "tests/support/models.h"
#include "tests/support/training_steps.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

// Relative errors of one device against exact arithmetic, in norm.
struct Errors {
  double logits = 0;
  double gradients = 0;
};

Errors errors_in_f32(const ModelConfig& model) {
  const auto length = static_cast<double>(model.num_hidden_layers * (model.hidden_size + model.intermediate_size));
  const double error = 8 * std::sqrt(length) * unit_roundoff(DType::f32);
  return {error, error};
}

Errors errors_in_bf16(const ModelConfig& model) {
  const auto layers = static_cast<double>(model.num_hidden_layers);
  const double roundings = model.model_type == "gpt2" ? 18 * layers + 7 : 15 * layers + 5;
  const double u = unit_roundoff(DType::bf16);
  return {2 * std::sqrt(roundings) * u, 3.2 * std::sqrt(2 * roundings) * u};
}

Errors errors_of(const RunConfig& config) {
  if (config.precision == "fp32") return errors_in_f32(config.model);
  // Roundings of different tokens are independent, and loss and gradient are sums over them.
  const auto tokens = static_cast<double>(config.micro_batch * config.grad_accum_steps * config.seq_len);
  const Errors one_token = errors_in_bf16(config.model);
  return {one_token.logits / std::sqrt(tokens), one_token.gradients / std::sqrt(tokens)};
}

}  // namespace

RunConfig tiny_run(const std::string& directory, const std::vector<std::string>& keys) {
  std::vector<std::string> all = {"model.hidden_size=64", "model.intermediate_size=128",
                                  "seq_len=32",           "micro_batch=8",
                                  "loss_chunk=256",       "learning_rate=1e-3",
                                  "max_steps=100",        "warmup_steps=10",
                                  "validation_every=0",   "threads=1"};
  all.insert(all.end(), keys.begin(), keys.end());
  return micro_run(directory, all);
}

std::vector<double> losses_of(const RunConfig& config, int64_t steps) {
  Trainer trainer(test_ops(), config, {.tuning_directory = worker_for(config).tuning_directory});
  std::vector<double> losses;
  for (int64_t i = 0; i < steps; ++i) losses.push_back(static_cast<double>(trainer.train_step().loss));
  return losses;
}

std::vector<double> loss_band(const RunConfig& config, const std::vector<double>& losses,
                              const std::vector<double>& other, double rate) {
  const Errors errors = errors_of(config);
  std::vector<double> band;
  double reaction = 0;  // of the loss, to a relative change of all updates before
  for (size_t i = 0; i < losses.size(); ++i) {
    reaction = std::max(reaction, std::abs(other[i] - losses[i]) / rate);
    band.push_back(2 * errors.logits * losses[i] + 2 * 2.5 * errors.gradients * reaction);
  }
  return band;
}

double largest_share(const std::vector<double>& a, const std::vector<double>& b, const std::vector<double>& band) {
  CHECK(a.size() == b.size() && a.size() == band.size(), "{}, {} and {} steps", a.size(), b.size(), band.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double share = std::abs(a[i] - b[i]) / band[i];
    if (!(share <= largest)) largest = share;  // and where it is not finite
  }
  return largest;
}

}  // namespace centavo::testing
