#include "train/forecast.h"

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/support/costs.h"
#include "tests/support/models.h"
#include "train/forecast_text.h"

namespace centavo::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RunConfig run_of(const std::vector<std::string>& overrides = {}) {
  return micro_run(fresh_directory("forecast"), overrides);
}

Forecast forecast_of(const RunConfig& config, int64_t steps_done = 0, const CostSource& costs = costs_by_bytes()) {
  return forecast(test_ops(), config, 2, training_program(test_ops(), config, 2), costs, steps_done);
}

TEST(Forecast, PartsAddUp) {
  const Forecast f = forecast_of(run_of({"grad_accum_steps=3", "price_per_hour=7"}));
  double kinds = 0;
  double floors = 0;
  int64_t calls = 0;
  for (const KindForecast& kind : f.kinds) {
    kinds += kind.seconds;
    floors += kind.floor_seconds;
    calls += kind.calls;
  }
  EXPECT_GT(f.step_seconds, 0);
  EXPECT_NEAR(kinds, f.step_seconds, 1e-12);
  EXPECT_NEAR(floors, f.step_seconds / 2, 1e-12);
  EXPECT_NEAR(f.floor_seconds, f.step_seconds / 2, 1e-12);
  EXPECT_EQ(calls, static_cast<int64_t>(f.spans.size()));
  EXPECT_NEAR(std::accumulate(f.busy.begin(), f.busy.end(), 0.0), f.step_seconds, 1e-12);
  EXPECT_EQ(f.step_tokens, 3 * 3 * 24);
  EXPECT_DOUBLE_EQ(f.steps.seconds, 8 * f.step_seconds);
  EXPECT_DOUBLE_EQ(*f.dollars(), 7 * (f.steps.seconds + f.validations.seconds + f.checkpoints.seconds) / 3600);
}

// Validations after 0 and 4 of 8 steps and at the end, of two batches each; checkpoints after 3, 6 and 8.
TEST(Forecast, CountsWhatIsDue) {
  const Forecast f = forecast_of(run_of({"checkpoint_every=3"}));
  EXPECT_EQ(f.steps.times, 8);
  EXPECT_EQ(f.validations.times, 3);
  EXPECT_GT(f.validations.seconds, 0);
  EXPECT_EQ(f.checkpoints.times, 3);
  EXPECT_GT(f.checkpoints.seconds, 0);
  EXPECT_FALSE(f.dollars());
  const Forecast rest = forecast_of(run_of({"checkpoint_every=3"}), 6);
  EXPECT_EQ(rest.steps.times, 2);
  EXPECT_EQ(rest.validations.times, 1);
  EXPECT_EQ(rest.checkpoints.times, 1);
}

TEST(Forecast, SaysWhatIsNotCounted) {
  CostSource costs = costs_by_bytes();
  EXPECT_THAT(forecast_of(run_of({"sample_tokens=4"}), 0, costs).not_counted, ::testing::Contains("samples"));
  EXPECT_THAT(forecast_of(run_of(), 0, costs).not_counted, Not(::testing::Contains("the writing of checkpoints")));
  costs.disk_write_bytes_per_second = 0;
  EXPECT_THAT(forecast_of(run_of(), 0, costs).not_counted, ::testing::Contains("the writing of checkpoints"));
}

TEST(Forecast, CutsOverRanks) {
  const RunConfig config = run_of({"grad_accum_steps=4", "shard=zero3"});
  const Worker worker(2, Mesh{1, 4}, 1);
  const Program training = training_program(test_ops(), config, worker);
  const Forecast f = forecast(test_ops(), config, worker, training, costs_by_bytes());
  EXPECT_EQ(f.step_tokens, 4 * 3 * 24);
  EXPECT_GT(f.busy[static_cast<size_t>(Lane::gather)], 0);
  EXPECT_NEAR(std::accumulate(f.busy.begin(), f.busy.end(), 0.0), f.step_seconds, 1e-12) << "the CPU has one lane";
  const double alone = forecast_of(run_of({"grad_accum_steps=4"})).checkpoints.seconds;
  EXPECT_NEAR(f.checkpoints.seconds, alone, 0.05 * alone) << "every element is written once; parts are padded";
}

TEST(ForecastText, NamesItsSource) {
  CostSource costs = costs_by_bytes();
  const Forecast f = forecast_of(run_of());
  const auto text = [&] { return fmt::format("{}", fmt::join(forecast_lines(f, costs), "\n")); };
  EXPECT_THAT(text(), HasSubstr("from the profile of Test Machine, 2 threads\npredicted "));
  costs.instead_of = "Other Machine";
  EXPECT_THAT(text(), HasSubstr("Test Machine, 2 threads; this is Other Machine, measure it with `centavo bench "
                                "--device cpu`\npredicted "));
  costs.threads = 8;
  costs.unknown = [] { return std::vector<std::string>{"new_op f32 > f32"}; };
  EXPECT_THAT(text(), HasSubstr("this run computes with 2 threads, measure again with `centavo bench --threads 2`"));
  EXPECT_THAT(text(), HasSubstr("not measured, guessed from the ceilings: new_op f32 > f32"));
  costs.kind = CostSource::Kind::prior;
  EXPECT_THAT(text(), HasSubstr("PRIOR, not measured"));
  EXPECT_THAT(text(), HasSubstr("within a factor of 3"));
  EXPECT_THAT(text(), HasSubstr("`centavo bench` measures it"));
}

// On a GPU lanes run side by side, and threads say nothing.
TEST(Forecast, OfAGpuItsLanesOverlap) {
  const RunConfig config = run_of({"grad_accum_steps=4", "shard=zero3"});
  const Worker worker(1, Mesh{1, 4}, 1);
  const Program training = training_program(test_ops(), config, worker);
  CostSource costs = costs_by_bytes();
  const double alone = forecast(test_ops(), config, worker, training, costs).step_seconds;
  costs.device = DeviceKind::cuda;
  const Forecast f = forecast(test_ops(), config, worker, training, costs);
  EXPECT_LT(f.step_seconds, alone);
  EXPECT_GE(f.step_seconds, *std::ranges::max_element(f.busy));
  EXPECT_THAT(forecast_lines(f, costs)[0], ::testing::EndsWith("from the profile of Test Machine"));
  costs.kind = CostSource::Kind::prior;
  EXPECT_THAT(forecast_lines(f, costs)[0], HasSubstr("from what is known of Test Machine"));
}

TEST(ForecastText, JsonHoldsTheNumbers) {
  const RunConfig config = run_of({"price_per_hour=1"});
  const Program training = training_program(test_ops(), config, 2);
  const CostSource costs = costs_by_bytes();
  const Forecast f = forecast_of(config);
  const nlohmann::json json = forecast_json(test_ops(), config, 2, training, f, costs);
  EXPECT_EQ(json["format"], 1);
  EXPECT_EQ(json["memory"]["device_bytes"], training.arena_bytes.at(Home::device));
  EXPECT_EQ(json["costs"]["source"], "profile");
  EXPECT_EQ(json["costs"]["device"], "cpu");
  EXPECT_EQ(json["costs"]["factor"], nullptr);
  EXPECT_EQ(json["predicted"]["step_seconds"], f.step_seconds);
  EXPECT_EQ(json["predicted"]["kinds"].size(), f.kinds.size());
  EXPECT_EQ(json["predicted"]["lanes"].size(), 4U);
  EXPECT_EQ(json["run"]["dollars"], *f.dollars());
  EXPECT_EQ(json["run"]["tokens"], 8 * 3 * 24);
}

// Measured twice as long as predicted.
TEST(ForecastText, ComparesWithWhatWasMeasured) {
  const Forecast f = forecast_of(run_of());
  std::vector<Span> measured = f.spans;
  for (Span& span : measured) {
    span.start *= 2;
    span.end *= 2;
  }
  const std::vector<std::string> lines = comparison_lines(f, measured, 4 * f.step_seconds);
  EXPECT_THAT(lines[0], HasSubstr("predicted    measured     error"));
  for (size_t i = 1; i + 1 < lines.size(); ++i) EXPECT_THAT(lines[i], HasSubstr("-50.0 %"));
  EXPECT_THAT(lines.back(), HasSubstr("-75.0 %"));
}

}  // namespace
}  // namespace centavo::testing
