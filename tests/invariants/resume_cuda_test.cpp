// Promise 3 on a GPU: a run that was stopped at any step and resumed ends in the bits of one that never stopped, with
// timed steps, validations and samples on the way. Under deterministic = true.

#include <gtest/gtest.h>

#include "base/files.h"
#include "tests/support/costs.h"
#include "tests/support/cuda_check.h"
#include "tests/support/models.h"
#include "tests/support/training_steps.h"
#include "train/metrics_log.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

using Start = TrainOptions::Start;
using Strings = std::vector<std::string>;

constexpr int kSteps = 9;
constexpr int kNever = 1000;

RunConfig run_of(Strings keys) {
  keys.insert(keys.end(),
              {"device=cuda", "deterministic=true", "grad_accum_steps=2", "validation_every=2", "validation_windows=2",
               "sample_every=4", "sample_tokens=3", "checkpoint_every=0", fmt::format("max_steps={}", kSteps)});
  return micro_run(fresh_directory("resume"), keys);
}

// Stops after `last` steps. With costs to compare with, the third to the fifth step of each start are timed.
void train(const RunConfig& config, Start start, int last) {
  const CostSource costs = costs_by_bytes();
  const auto stop = [asked = 0, last]() mutable { return asked++ == last; };
  Trainer(test_ops(), config,
          {.start = start, .stop = stop, .tuning_directory = worker_for(config).tuning_directory, .costs = &costs})
      .run();
}

// What a run leaves: its model, and what it logged.
struct Left {
  std::string model;
  std::vector<double> losses;
  std::vector<double> validations;
  std::vector<std::string> samples;
  bool operator==(const Left&) const = default;
};

Left left_by(const RunConfig& config) {
  const MetricsFile metrics = read_metrics(metrics_path(config.out));
  Left left{
      .model = read_file(config.out + "/model/model.safetensors"), .losses = {}, .validations = {}, .samples = {}};
  for (const StepRecord& step : metrics.steps) left.losses.push_back(step.loss);
  for (const ValidationRecord& validation : metrics.validations) left.validations.push_back(validation.loss);
  for (const SampleRecord& sample : metrics.samples) left.samples.push_back(sample.text);
  return left;
}

TEST(ResumeCuda, AtAnyStepChangesNoBit) {
  NEEDS_GPU();
  for (const Strings& keys : {Strings{"precision=fp32", "offload=all"},
                              {"precision=bf16-stochastic", "grad_sum=tree"},
                              {"precision=bf16", "documents=joined", "model.hidden_size=256", "seq_len=128"}}) {
    const RunConfig whole = run_of(keys);
    train(whole, Start::fresh, kNever);
    const Left expected = left_by(whole);
    ASSERT_EQ(expected.losses.size(), static_cast<size_t>(kSteps));
    EXPECT_LT(expected.losses.back(), expected.losses.front());
    EXPECT_EQ(expected.validations.size(), 6U);
    EXPECT_EQ(expected.samples.size(), 3U);
    for (const int stop : {1, 2, 4, 8}) {
      const RunConfig config = run_of(keys);
      train(config, Start::fresh, stop);
      train(config, Start::resume, kNever);
      EXPECT_TRUE(left_by(config) == expected) << keys[0] << " stopped after step " << stop;
    }
  }
}

}  // namespace
}  // namespace centavo::testing
