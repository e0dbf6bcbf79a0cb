#include "train/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "train/html.h"

namespace centavo {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kLargest = 1e30;      // what is drawn; keeps differences of ranges finite
constexpr double kSize = 1000;         // of the SVG's own coordinates
constexpr double kFarOutside = 1e7;    // of those coordinates
constexpr size_t kPointsDrawn = 1500;  // a series
constexpr size_t kDotsDrawn = 80;      // more would touch
constexpr size_t kLinesDrawn = 100;    // vertical ones
constexpr double kSpikes = 1.0 / 400;  // share of a faint series that may leave the range, at either end

bool drawable(Scale scale, double y) { return std::abs(y) < kLargest && (scale == Scale::linear || y > 1 / kLargest); }

struct Extent {
  double low = kInfinity;
  double high = -kInfinity;

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
};

void include_series(Extent& extent, const Series& series, Scale scale) {
  std::vector<double> values;
  for (const Point& p : series.points) {
    if (drawable(scale, p.y)) values.push_back(p.y);
  }
  if (values.empty()) return;
  std::sort(values.begin(), values.end());
  const auto spikes = static_cast<size_t>(static_cast<double>(values.size()) * kSpikes);
  const size_t cut = series.mark == Mark::faint ? spikes : 0;
  extent.include(values[cut]);
  extent.include(values[values.size() - 1 - cut]);
}

Axis y_axis(const Chart& chart) {
  Extent extent;
  for (const Series& series : chart.series) include_series(extent, series, chart.scale);
  for (const Level& level : chart.levels) {
    if (drawable(chart.scale, level.y)) extent.include(level.y);
  }
  if (extent.empty()) extent = {1, 1};
  if (chart.scale == Scale::logarithmic) return logarithmic_axis(extent.low, extent.high);
  if (chart.range == YRange::from_zero) extent.include(0);
  return linear_axis(extent.low, extent.high, 5);
}

Axis x_axis(const Chart& chart) {
  Extent extent;
  for (const Series& series : chart.series) {
    for (const Point& p : series.points) extent.include(p.x);
  }
  if (extent.empty()) extent = {0, 1};
  if (extent.low < extent.high / 2 || extent.low == extent.high) extent.include(0);
  if (extent.high == 0) extent.include(1);
  const double length = extent.high - extent.low;
  const bool counts = chart.x_unit == "step" && length >= 1;  // no ticks between two steps
  return exact_axis(extent.low, extent.high, counts ? static_cast<int>(std::min(length, 5.0)) : 5);
}

struct Frame {
  Axis x;
  Axis y;
  Scale scale;

  double across(double value) const { return kSize * position(x, Scale::linear, value); }
  double down(double value) const {
    return std::clamp(kSize * (1 - position(y, scale, value)), -kFarOutside, kFarOutside);
  }
};

// A point without neighbours is a line of no length, which its round ends make visible.
std::string line_path(const Frame& frame, const std::vector<Point>& points) {
  std::string path;
  bool pen_down = false;
  for (size_t i = 0; i < points.size(); ++i) {
    if (!drawable(frame.scale, points[i].y)) {
      pen_down = false;
      continue;
    }
    path += fmt::format("{}{:.2f} {:.2f}", pen_down ? 'L' : 'M', frame.across(points[i].x), frame.down(points[i].y));
    const bool alone = !pen_down && (i + 1 == points.size() || !drawable(frame.scale, points[i + 1].y));
    if (alone) path += "h0";
    pen_down = true;
  }
  return path;
}

std::string dots_path(const Frame& frame, const std::vector<Point>& points) {
  std::string path;
  for (const Point& p : points) {
    if (drawable(frame.scale, p.y)) path += fmt::format("M{:.2f} {:.2f}h0", frame.across(p.x), frame.down(p.y));
  }
  return path;
}

std::string series_svg(const Frame& frame, const Series& series) {
  const std::vector<Point> points = downsample(series.points, kPointsDrawn);
  const char* mark = series.mark == Mark::faint ? "faint" : "line";
  std::string svg = fmt::format("<path class=\"{} {}\" data-name=\"{}\" d=\"{}\"/>\n", mark, series.colour,
                                html(series.name), line_path(frame, points));
  const bool dots = series.mark == Mark::dots || points.size() == 1;
  if (dots && points.size() <= kDotsDrawn) {
    svg += fmt::format("<path class=\"dots {}\" d=\"{}\"/>\n", series.colour, dots_path(frame, points));
  }
  return svg;
}

std::string vertical_lines(const Frame& frame, const std::vector<double>& places, const char* mark) {
  if (places.empty()) return "";
  const size_t every = (places.size() + kLinesDrawn - 1) / kLinesDrawn;
  std::string path;
  for (size_t i = 0; i < places.size(); i += every) path += fmt::format("M{:.2f} 0V{}", frame.across(places[i]), kSize);
  return fmt::format("<path class=\"{}\" d=\"{}\"/>\n", mark, path);
}

std::string horizontal_lines(const Frame& frame, const std::vector<double>& places, const char* mark) {
  std::string path;
  for (const double place : places) path += fmt::format("M0 {:.2f}H{}", frame.down(place), kSize);
  return fmt::format("<path class=\"{}\" d=\"{}\"/>\n", mark, path);
}

std::vector<double> heights_of(const Chart& chart) {
  std::vector<double> heights;
  for (const Level& level : chart.levels) {
    if (drawable(chart.scale, level.y)) heights.push_back(level.y);
  }
  return heights;
}

std::string svg_of(const Chart& chart, const Frame& frame) {
  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {0} {0}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{1} by {2}\">\n",
                  kSize, html(chart.title), html(chart.x_unit));
  svg += horizontal_lines(frame, frame.y.ticks, "grid");
  svg += vertical_lines(frame, chart.resumes, "resume");
  svg += vertical_lines(frame, chart.failures, "failure");
  if (!chart.levels.empty()) svg += horizontal_lines(frame, heights_of(chart), "level");
  for (const Series& series : chart.series) svg += series_svg(frame, series);
  return svg + "</svg>\n";
}

// Near the top there is no room above a line.
std::string level_names(const Chart& chart, const Frame& frame) {
  std::string text;
  for (const Level& level : chart.levels) {
    if (!drawable(chart.scale, level.y)) continue;
    const double top = frame.down(level.y) / kSize * 100;
    text += fmt::format("<span class=\"level-name{}\" style=\"top:{:.2f}%\">{}</span>\n", top < 12 ? " below" : "", top,
                        html(level.name));
  }
  return text;
}

std::string plot_of(const Chart& chart, const Frame& frame) {
  return fmt::format(
      "<div class=\"plot\" data-x0=\"{}\" data-x1=\"{}\" data-y0=\"{}\" data-y1=\"{}\" data-scale=\"{}\" "
      "data-x=\"{}\">\n{}{}</div>\n",
      frame.x.low, frame.x.high, frame.y.low, frame.y.high, chart.scale == Scale::linear ? "linear" : "logarithmic",
      html(chart.x_unit), svg_of(chart, frame), level_names(chart, frame));
}

std::string labels_beside(const Frame& frame) {
  const TickLabels labels = tick_labels(frame.y, frame.scale);
  std::string text = "<div class=\"y-labels\">";
  for (size_t i = 0; i < labels.texts.size(); ++i) {
    text += fmt::format("<span style=\"top:{:.2f}%\">{}</span>", frame.down(frame.y.ticks[i]) / kSize * 100,
                        labels.texts[i]);
  }
  return text + "</div>\n";
}

std::string labels_below(const Chart& chart, const Frame& frame) {
  const TickLabels labels = tick_labels(frame.x, Scale::linear);
  std::string text = fmt::format("<div class=\"x-unit\">{}{}</div>\n<div class=\"x-labels\">", html(chart.x_unit),
                                 labels.factor.empty() ? "" : " " + labels.factor);
  for (size_t i = 0; i < labels.texts.size(); ++i) {
    text += fmt::format("<span style=\"left:{:.2f}%\">{}</span>", frame.across(frame.x.ticks[i]) / kSize * 100,
                        labels.texts[i]);
  }
  return text + "</div>\n";
}

std::string legend_key(const std::string& mark, const std::string& name) {
  return fmt::format("<span class=\"key {}\">{}</span>", mark, html(name));
}

std::string legend_of(const Chart& chart) {
  std::string text;
  if (chart.series.size() > 1) {
    for (const Series& s : chart.series) text += legend_key((s.mark == Mark::faint ? "pale " : "") + s.colour, s.name);
  }
  if (!chart.resumes.empty()) text += legend_key("dashed", "resumed");
  if (!chart.failures.empty()) text += legend_key("failed", fmt::format("not finite: {}", chart.failures.size()));
  return fmt::format("<span class=\"legend\">{}</span>", text);
}

// Summed anew for each place: with running sums one huge value would cost all later means their digits.
double mean_of(const std::vector<Point>& points, size_t begin, size_t end) {
  double total = 0;
  double count = 0;
  for (size_t i = begin; i < end; ++i) {
    if (!drawable(Scale::linear, points[i].y)) continue;
    total += points[i].y;
    ++count;
  }
  return total / count;
}

struct Extremes {
  std::optional<size_t> low;
  std::optional<size_t> high;
};

Extremes extremes_of(const std::vector<Point>& points, size_t begin, size_t end) {
  Extremes found;
  for (size_t i = begin; i < end; ++i) {
    if (!std::isfinite(points[i].y)) continue;
    if (!found.low || points[i].y < points[*found.low].y) found.low = i;
    if (!found.high || points[i].y > points[*found.high].y) found.high = i;
  }
  return found;
}

}  // namespace

std::vector<Point> downsample(const std::vector<Point>& points, size_t limit) {
  if (points.size() <= limit) return points;
  const size_t stretches = limit / 2 - 1;
  const size_t inner = points.size() - 2;
  std::vector<Point> kept = {points.front()};
  for (size_t s = 0; s < stretches; ++s) {
    const size_t begin = 1 + inner * s / stretches;
    const Extremes found = extremes_of(points, begin, 1 + inner * (s + 1) / stretches);
    if (!found.low) {
      kept.push_back({points[begin].x, kNan});
      continue;
    }
    kept.push_back(points[std::min(*found.low, *found.high)]);
    if (*found.low != *found.high) kept.push_back(points[std::max(*found.low, *found.high)]);
  }
  kept.push_back(points.back());
  return kept;
}

std::vector<Point> smooth(const std::vector<Point>& points, size_t reach) {
  std::vector<Point> means = points;
  for (size_t i = 0; i < points.size(); ++i) {
    if (!drawable(Scale::linear, points[i].y)) continue;
    // As far back as forward where a curve falls steeply at its beginning; at its end the past must do.
    const size_t back = std::min(reach, i);
    const size_t forward = std::min(back, points.size() - 1 - i);
    means[i].y = mean_of(points, i - back, i + forward + 1);
  }
  return means;
}

std::string chart_html(const Chart& chart) {
  const Frame frame = {x_axis(chart), y_axis(chart), chart.scale};
  const std::string factor = tick_labels(frame.y, frame.scale).factor;
  return fmt::format(
      "<figure class=\"chart{}\">\n<figcaption><h3>{}</h3> <span class=\"unit\">{}{}</span>{}</figcaption>\n"
      "<div class=\"axes\">\n{}{}{}</div>\n</figure>\n",
      chart.wide ? " wide" : "", html(chart.title), html(chart.unit), factor.empty() ? "" : " " + factor,
      legend_of(chart), labels_beside(frame), plot_of(chart, frame), labels_below(chart, frame));
}

}  // namespace centavo
