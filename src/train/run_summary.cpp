#include "train/run_summary.h"

#include <algorithm>
#include <cmath>

namespace centavo {
namespace {

std::optional<double> median(std::vector<double> values) {
  std::erase_if(values, [](double v) { return !std::isfinite(v); });
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<StepRecord> steps_of_last_start(const MetricsFile& metrics) {
  std::vector<StepRecord> steps;
  for (const StepRecord& s : metrics.steps) {
    if (s.step > metrics.starts.back().step) steps.push_back(s);
  }
  return steps;
}

std::vector<double> rates(const std::vector<StepRecord>& steps) {
  std::vector<double> values;
  values.reserve(steps.size());
  for (const StepRecord& s : steps) values.push_back(s.tok_s);
  return values;
}

std::vector<double> peak_shares(const std::vector<StepRecord>& steps) {
  std::vector<double> values;
  values.reserve(steps.size());
  for (const StepRecord& s : steps) values.push_back(s.mfu.value_or(NAN));
  return values;
}

std::optional<double> last_smoothed(const std::vector<Point>& points) {
  if (points.empty()) return std::nullopt;
  const size_t reach = smoothing_reach(points.size());
  const size_t begin = points.size() - std::min(points.size(), reach + 1);
  return smooth({points.begin() + static_cast<ptrdiff_t>(begin), points.end()}, reach).back().y;
}

}  // namespace

size_t smoothing_reach(size_t steps) { return std::min<size_t>(steps / 50, 500); }

std::vector<Point> curve(const MetricsFile& metrics, double StepRecord::*value) {
  std::vector<Point> points;
  for (const StepRecord& s : metrics.steps) points.push_back({static_cast<double>(s.step), s.*value});
  return points;
}

std::vector<double> elapsed_seconds(const MetricsFile& metrics) {
  std::vector<double> seconds;
  for (const StepRecord& s : metrics.steps) seconds.push_back(start_of(metrics, s.step).seconds_before + s.time);
  return seconds;
}

RunSummary summarize(const MetricsFile& metrics) {
  RunSummary summary;
  summary.seconds = wall_seconds(metrics);
  summary.cost = total_cost(metrics);
  if (!metrics.validations.empty()) summary.validation = metrics.validations.back();
  if (metrics.steps.empty()) {
    summary.steps = metrics.starts.back().step;
    return summary;
  }
  const StepRecord& last = metrics.steps.back();
  summary.steps = last.step;
  summary.tokens = last.tokens;
  summary.memory_bytes = last.mem;
  summary.first_loss = metrics.steps.front().loss;
  summary.loss = last_smoothed(curve(metrics, &StepRecord::loss));
  summary.grad_norm = last_smoothed(curve(metrics, &StepRecord::grad_norm));
  const std::vector<StepRecord> recent = steps_of_last_start(metrics);
  summary.tok_s = median(rates(recent.empty() ? metrics.steps : recent));
  summary.mfu = median(peak_shares(recent.empty() ? metrics.steps : recent));
  return summary;
}

}  // namespace centavo
