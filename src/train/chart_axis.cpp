#include "train/chart_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace centavo {
namespace {

// Distances and quotients of ticks carry rounding errors of this size.
constexpr double kSlack = 1e-9;

double nice_step(double raw) {
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power * (1 + kSlack)) return factor * power;
  }
  return 10 * power;
}

struct Range {
  double low;
  double high;
};

// No range is empty: a constant lies in the middle of a small one, zero at the bottom of [0, 1].
Range opened(double low, double high) {
  const double size = std::max(std::abs(low), std::abs(high));
  if (high - low > size * kSlack) return {low, high};
  if (size == 0) return {0, 1};
  return {low - 0.05 * size, high + 0.05 * size};
}

std::vector<double> multiples(double step, double low, double high) {
  std::vector<double> ticks;
  const double first = std::ceil(low / step - kSlack);
  for (double i = first; i * step <= high + step * kSlack; ++i) ticks.push_back(i == 0 ? 0 : i * step);
  return ticks;
}

std::string superscript(int exponent) {
  constexpr std::array<const char*, 10> kDigits = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "⁻" : "";
  for (const char digit : fmt::format("{}", std::abs(exponent))) text += kDigits[static_cast<size_t>(digit - '0')];
  return text;
}

// What the labels are divided by, and how that is said.
struct Divisor {
  double value = 1;
  std::string_view suffix;  // of each label
  std::string factor;       // of the axis
};

Divisor divisor_for(double size) {
  if (size >= 1e13)
    return {std::pow(10, std::floor(std::log10(size))), "", "×10" + superscript(static_cast<int>(std::log10(size)))};
  if (size >= 1e10) return {1e9, " G", ""};
  if (size >= 1e7) return {1e6, " M", ""};
  if (size >= 1e4) return {1e3, " k", ""};
  if (size >= 0.01 || size == 0) return {};
  const double exponent = std::floor(std::log10(size) + kSlack);
  return {std::pow(10, exponent), "", "×10" + superscript(static_cast<int>(exponent))};
}

int decimals_of(double step) { return std::max(0, static_cast<int>(-std::floor(std::log10(step) + kSlack))); }

TickLabels linear_labels(const Axis& axis) {
  TickLabels labels;
  if (axis.ticks.empty()) return labels;
  const Divisor divisor = divisor_for(std::max(std::abs(axis.ticks.front()), std::abs(axis.ticks.back())));
  const double step = axis.ticks.size() > 1 ? axis.ticks[1] - axis.ticks[0] : axis.high - axis.low;
  const int decimals = decimals_of(step / divisor.value);
  for (const double tick : axis.ticks) {
    labels.texts.push_back(tick == 0 ? "0" : fmt::format("{:.{}f}{}", tick / divisor.value, decimals, divisor.suffix));
  }
  labels.factor = divisor.factor;
  return labels;
}

std::string logarithmic_label(double tick) {
  if (tick >= 1e4 || tick < 1e-3) {
    const int exponent = static_cast<int>(std::floor(std::log10(tick) + kSlack));
    const double lead = tick / std::pow(10, exponent);
    const std::string power = "10" + superscript(exponent);
    return std::abs(lead - 1) < kSlack ? power : fmt::format("{:.0f}·{}", lead, power);
  }
  return fmt::format("{:g}", tick);
}

std::vector<double> decades(const Range& range, std::initializer_list<double> factors) {
  std::vector<double> ticks;
  const auto last = static_cast<int>(std::floor(std::log10(range.high) + kSlack));
  for (auto e = static_cast<int>(std::floor(std::log10(range.low))); e <= last; ++e) {
    for (const double factor : factors) {
      const double tick = factor * std::pow(10, e);
      if (tick >= range.low * (1 - kSlack) && tick <= range.high * (1 + kSlack)) ticks.push_back(tick);
    }
  }
  return ticks;
}

// Every n-th, so that at most `most` are left.
std::vector<double> thinned(const std::vector<double>& ticks, size_t most) {
  const size_t every = (ticks.size() + most - 1) / most;
  std::vector<double> kept;
  for (size_t i = 0; i < ticks.size(); i += every) kept.push_back(ticks[i]);
  return kept;
}

}  // namespace

Axis linear_axis(double low, double high, int wanted) {
  const Range range = opened(low, high);
  const double step = nice_step((range.high - range.low) / wanted);
  const double bottom = std::floor(range.low / step + kSlack) * step;
  const double top = std::ceil(range.high / step - kSlack) * step;
  return {bottom, top, multiples(step, bottom, top)};
}

Axis exact_axis(double low, double high, int wanted) {
  const Range range = opened(low, high);
  const double step = nice_step((range.high - range.low) / wanted);
  return {range.low, range.high, multiples(step, range.low, range.high)};
}

Axis logarithmic_axis(double low, double high) {
  constexpr size_t kMostTicks = 7;
  const Range range = {low / 1.15, high * 1.15};
  std::vector<double> ticks = decades(range, {1.0});
  if (ticks.size() < 3) ticks = decades(range, {1.0, 2.0, 5.0});
  if (ticks.size() < 2) return exact_axis(range.low, range.high, 4);
  return {range.low, range.high, thinned(ticks, kMostTicks)};
}

TickLabels tick_labels(const Axis& axis, Scale scale) {
  if (scale == Scale::linear) return linear_labels(axis);
  TickLabels labels;
  for (const double tick : axis.ticks) labels.texts.push_back(logarithmic_label(tick));
  return labels;
}

double position(const Axis& axis, Scale scale, double value) {
  if (scale == Scale::linear) return (value - axis.low) / (axis.high - axis.low);
  return std::log(value / axis.low) / std::log(axis.high / axis.low);
}

}  // namespace centavo
