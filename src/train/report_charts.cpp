#include "train/report_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "train/chart.h"
#include "train/html.h"
#include "train/run_summary.h"
#include "train/units.h"

namespace centavo {
namespace {

// Highest over lowest gradient norm from which only a logarithmic axis shows both.
constexpr double kWideRange = 60;

std::vector<double> resumes_of(const MetricsFile& metrics) {
  std::vector<double> steps;
  for (size_t i = 1; i < metrics.starts.size(); ++i) steps.push_back(static_cast<double>(metrics.starts[i].step));
  return steps;
}

std::vector<double> failures_in(const std::vector<Point>& points) {
  std::vector<double> places;
  for (const Point& p : points) {
    if (!std::isfinite(p.y)) places.push_back(p.x);
  }
  return places;
}

// Too few steps hide nothing: then the curve itself is drawn.
std::vector<Series> with_smoothed(const std::string& name, const std::vector<Point>& points) {
  const size_t reach = smoothing_reach(points.size());
  if (reach == 0) return {{name, "first", Mark::line, points}};
  return {{"each step", "first", Mark::faint, points}, {name, "first", Mark::line, smooth(points, reach)}};
}

std::vector<Point> validation_curve(const MetricsFile& metrics, double ValidationRecord::*value) {
  std::vector<Point> points;
  for (const ValidationRecord& v : metrics.validations) points.push_back({static_cast<double>(v.step), v.*value});
  return points;
}

Chart loss_chart(const MetricsFile& metrics) {
  const std::vector<Point> points = curve(metrics, &StepRecord::loss);
  Chart chart = {.title = "Loss", .unit = "nats per token", .wide = true};
  if (!points.empty()) chart.series = with_smoothed("training", points);
  if (!metrics.validations.empty()) {
    chart.series.push_back({"validation", "second", Mark::dots, validation_curve(metrics, &ValidationRecord::loss)});
  }
  chart.resumes = resumes_of(metrics);
  chart.failures = failures_in(points);
  return chart;
}

Chart bits_chart(const MetricsFile& metrics) {
  const std::vector<Point> points = validation_curve(metrics, &ValidationRecord::bits_per_byte);
  Chart chart = {.title = "Validation", .unit = "bits per byte"};
  chart.series = {{"validation", "second", Mark::dots, points}};
  for (const BaselineFacts& baseline : metrics.facts().baselines) {
    chart.levels.push_back({fmt::format("{} {:.3f}", baseline.name, baseline.bits_per_byte), baseline.bits_per_byte});
  }
  chart.failures = failures_in(points);
  return chart;
}

Chart learning_rate_chart(const MetricsFile& metrics) {
  Chart chart = {.title = "Learning rate", .range = YRange::from_zero};
  chart.series = {{"learning rate", "third", Mark::line, curve(metrics, &StepRecord::lr)}};
  return chart;
}

bool spans_widely(const std::vector<Point>& points) {
  double low = INFINITY;
  double high = 0;
  for (const Point& p : points) {
    if (!(std::isfinite(p.y) && p.y > 0)) continue;
    low = std::min(low, p.y);
    high = std::max(high, p.y);
  }
  return high > kWideRange * low;
}

Chart gradient_chart(const MetricsFile& metrics) {
  const std::vector<Point> points = curve(metrics, &StepRecord::grad_norm);
  Chart chart = {.title = "Gradient norm", .unit = "before clipping", .range = YRange::from_zero};
  if (spans_widely(points)) chart.scale = Scale::logarithmic;
  chart.series = with_smoothed("smoothed", points);
  chart.failures = failures_in(points);
  return chart;
}

Chart throughput_chart(const MetricsFile& metrics) {
  Chart chart = {.title = "Throughput", .unit = "tokens per second", .range = YRange::from_zero};
  chart.series = with_smoothed("smoothed", curve(metrics, &StepRecord::tok_s));
  return chart;
}

// Of what the GPU told; a point for each of its lines in the log.
template <class Value>
std::vector<Point> gpu_curve(const MetricsFile& metrics, Value value) {
  std::vector<Point> points;
  for (const GpuRecord& r : metrics.gpu) points.push_back({static_cast<double>(r.step), value(r.use).value_or(NAN)});
  return points;
}

Chart power_chart(const MetricsFile& metrics) {
  Chart chart = {.title = "GPU power", .unit = "watts", .range = YRange::from_zero};
  chart.series = {{"power", "third", Mark::line, gpu_curve(metrics, [](const GpuUse& use) { return use.watts(); })}};
  return chart;
}

Chart clock_chart(const MetricsFile& metrics) {
  Chart chart = {.title = "GPU clock", .unit = "MHz", .range = YRange::from_zero};
  chart.series = {{"clock", "third", Mark::line, gpu_curve(metrics, [](const GpuUse& use) { return use.sm_mhz; })}};
  return chart;
}

struct TimeUnit {
  const char* name;
  double seconds;
};

TimeUnit unit_of(double seconds) {
  if (seconds < 180) return {"s", 1};
  if (seconds < 3 * 3600) return {"min", 60};
  return {"h", 3600};
}

Chart cost_chart(const MetricsFile& metrics) {
  const std::vector<double> elapsed = elapsed_seconds(metrics);
  const TimeUnit unit = unit_of(elapsed.back());
  const bool cents = total_cost(metrics).value_or(0) < 1;
  Chart chart = {.title = "Cost", .unit = cents ? "cents" : "dollars", .x_unit = unit.name, .range = YRange::from_zero};
  Series series = {"cost", "third", Mark::line, {}};
  for (size_t i = 0; i < elapsed.size(); ++i) {
    const double cost = metrics.steps[i].cost.value_or(NAN);
    series.points.push_back({elapsed[i] / unit.seconds, cents ? 100 * cost : cost});
  }
  chart.series = {series};
  return chart;
}

// Planned bytes that no region has to itself: where the shared ones take turns.
int64_t shared_space(const RunFacts& facts, int64_t planned_bytes) {
  for (const RegionFacts& region : facts.memory) {
    if (!region.shared) planned_bytes -= std::clamp<int64_t>(region.bytes, 0, planned_bytes);
  }
  return planned_bytes;
}

constexpr size_t kMemoryColours = 8;

std::string segment(size_t colour, const char* kind, int64_t bytes, const std::string& name) {
  return fmt::format("<span class=\"m{}{}\" style=\"flex-grow:{}\" title=\"{}: {}\"></span>\n", colour % kMemoryColours,
                     kind, std::max<int64_t>(bytes, 0), html(name), bytes_text(bytes));
}

std::string region_row(const std::string& swatch, const std::string& name, int64_t bytes, const std::string& share) {
  return fmt::format("<tr><td>{}{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n", swatch,
                     html(name), bytes_text(bytes), share);
}

std::string swatch(size_t colour, const char* kind) {
  return fmt::format("<span class=\"swatch m{}{}\"></span>", colour % kMemoryColours, kind);
}

std::string share_of(int64_t part, int64_t whole) {
  const double percent = 100 * static_cast<double>(part) / static_cast<double>(whole);
  return percent < 0.05 && part > 0 ? "&lt; 0.1 %" : fmt::format("{:.1f} %", percent);
}

struct MemoryParts {
  std::string bar;
  std::string rows;
};

MemoryParts own_regions(const RunFacts& facts, int64_t planned_bytes) {
  MemoryParts parts;
  size_t colour = 0;
  for (const RegionFacts& region : facts.memory) {
    if (region.shared) continue;
    parts.bar += segment(colour, "", region.bytes, region.name);
    parts.rows += region_row(swatch(colour, ""), region.name, region.bytes, share_of(region.bytes, planned_bytes));
    ++colour;
  }
  return parts;
}

void add_shared_regions(MemoryParts& parts, const RunFacts& facts, int64_t planned_bytes) {
  const int64_t space = shared_space(facts, planned_bytes);
  parts.bar += segment(kMemoryColours - 1, " hatched", space, "shared space");
  parts.rows +=
      region_row(swatch(kMemoryColours - 1, " hatched"), "shared space", space, share_of(space, planned_bytes));
  for (const RegionFacts& region : facts.memory) {
    if (region.shared)
      parts.rows += region_row("<span class=\"swatch\"></span>", region.name, region.bytes, "in turns");
  }
}

}  // namespace

std::string charts_html(const MetricsFile& metrics) {
  std::string text;
  if (!metrics.steps.empty() || !metrics.validations.empty()) text += chart_html(loss_chart(metrics));
  if (!metrics.validations.empty()) text += chart_html(bits_chart(metrics));
  if (metrics.steps.empty()) return text;
  text += chart_html(gradient_chart(metrics));
  text += chart_html(learning_rate_chart(metrics));
  text += chart_html(throughput_chart(metrics));
  if (metrics.steps.back().cost) text += chart_html(cost_chart(metrics));
  if (!metrics.gpu.empty()) text += chart_html(power_chart(metrics)) + chart_html(clock_chart(metrics));
  return text;
}

std::string memory_html(const RunFacts& facts, int64_t planned_bytes) {
  if (facts.memory.empty() || planned_bytes <= 0) return "";
  MemoryParts parts = own_regions(facts, planned_bytes);
  const bool shares = std::ranges::count(facts.memory, true, &RegionFacts::shared) > 0;
  if (shares) add_shared_regions(parts, facts, planned_bytes);
  const char* note =
      "<p class=\"note\">Buffers that never live at the same time have the same addresses. Below the shared space "
      "stand the sums of what takes turns in it.</p>\n";
  return fmt::format(
      "<section>\n<h2>Memory</h2>\n<div class=\"card memory\">\n<p class=\"total\"><b>{}</b> planned, nothing is "
      "allocated later</p>\n<div class=\"stack\">\n{}</div>\n<table>\n{}</table>\n{}</div>\n</section>\n",
      bytes_text(planned_bytes), parts.bar, parts.rows, shares ? note : "");
}

}  // namespace centavo
