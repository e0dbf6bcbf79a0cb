// Two devices that train the same model: their losses stay within a derived band (docs/numerics.md, "Two devices").
//
// Where there is no GPU, the same sums in another order stand for the other device: half of the micro-batch at a time.

#include <gtest/gtest.h>

#include "tests/support/cuda_check.h"
#include "tests/support/loss_band.h"
#include "tests/support/models.h"
#include "tests/support/sanitized.h"
#include "tests/support/training_steps.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

using Strings = std::vector<std::string>;

constexpr int64_t kSteps = 100;

struct Case {
  const char* precision;
  const char* model_type;
  double rate;  // by which the learning rate of the other run differs, that must lie outside
};

// In bf16 a percent hides among the roundings.
const std::vector<Case> kCases = {
    {"fp32", "llama", 0.01}, {"fp32", "gpt2", 0.01}, {"bf16", "llama", 0.1}, {"bf16", "gpt2", 0.1}};

RunConfig run_of(const Case& c, const Strings& more = {}) {
  Strings keys = {fmt::format("precision={}", c.precision), fmt::format("model.model_type={}", c.model_type)};
  if (std::string(c.model_type) == "gpt2") keys.emplace_back("model.num_key_value_heads=4");
  keys.insert(keys.end(), more.begin(), more.end());
  return tiny_run(fresh_directory("losses"), keys);
}

// The losses of the processor, and the band around them.
struct Expected {
  std::vector<double> losses, other, band;

  explicit Expected(const Case& c) {
    RunConfig config = run_of(c);
    losses = losses_of(config, kSteps);
    config.learning_rate *= 1 + c.rate;
    config.out += " other";
    other = losses_of(config, kSteps);
    band = loss_band(config, losses, other, c.rate);
  }
};

void expect_learning(const std::vector<double>& losses) {
  EXPECT_NEAR(losses.front(), 5.55, 0.2) << "of 256 tokens, about equally likely";
  EXPECT_LT(losses.back(), losses.front() / 2);
}

TEST(LossBand, HoldsAnotherOrderOfSumsAndNotAnotherLearningRate) {
  if (kSanitized) GTEST_SKIP() << "numbers are those of the other build; 600 steps";
  for (const Case& c : kCases) {
    const Expected expected(c);
    expect_learning(expected.losses);
    const std::vector<double> reordered = losses_of(run_of(c, {"micro_batch=4", "grad_accum_steps=2"}), kSteps);
    EXPECT_NE(reordered, expected.losses) << c.precision << " " << c.model_type;
    EXPECT_LE(largest_share(reordered, expected.losses, expected.band), 1) << c.precision << " " << c.model_type;
    EXPECT_GT(largest_share(expected.other, expected.losses, expected.band), 1) << c.precision << " " << c.model_type;
  }
}

TEST(LossesCuda, FollowTheProcessors) {
  NEEDS_GPU();
  for (const Case& c : kCases) {
    const Expected expected(c);
    const std::vector<double> on_gpu = losses_of(run_of(c, {"device=cuda"}), kSteps);
    expect_learning(on_gpu);
    EXPECT_LE(largest_share(on_gpu, expected.losses, expected.band), 1) << c.precision << " " << c.model_type;
    EXPECT_GT(largest_share(on_gpu, expected.other, expected.band), 1) << c.precision << " " << c.model_type;
  }
}

// Stopped on one device in the middle and resumed on the other.
std::vector<double> losses_of_both(RunConfig config, const char* first, const char* second) {
  std::vector<double> losses;
  for (const char* device : {first, second}) {
    config.device = device;
    const bool resumes = !losses.empty();
    Trainer trainer(test_ops(), config,
                    {.start = resumes ? TrainOptions::Start::resume : TrainOptions::Start::fresh,
                     .tuning_directory = worker_for(config).tuning_directory});
    EXPECT_EQ(trainer.steps_done(), resumes ? kSteps / 2 : 0);
    for (int64_t i = 0; i < kSteps / 2; ++i) losses.push_back(static_cast<double>(trainer.train_step().loss));
    trainer.save();
  }
  return losses;
}

TEST(LossesCuda, OfARunThatChangesDevicesFollowTheProcessors) {
  NEEDS_GPU();
  for (const Case& c : {kCases[0], kCases[2]}) {
    const Expected expected(c);
    for (const auto& [first, second] : {std::pair("cuda", "cpu"), std::pair("cpu", "cuda")}) {
      const std::vector<double> losses = losses_of_both(run_of(c), first, second);
      EXPECT_LE(largest_share(losses, expected.losses, expected.band), 1) << c.precision << ", begun on " << first;
    }
  }
}

}  // namespace
}  // namespace centavo::testing
