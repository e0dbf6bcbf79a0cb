#include "train/gpu_use.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

namespace centavo {
namespace {

constexpr double kJoulesPerKwh = 3.6e6;

// The mean of two stretches, of those that know it.
std::optional<double> mean(std::optional<double> a, double a_seconds, std::optional<double> b, double b_seconds) {
  if (!a) return b;
  if (!b || a_seconds + b_seconds <= 0) return a;
  return (*a * a_seconds + *b * b_seconds) / (a_seconds + b_seconds);
}

std::string share(double seconds, double of) { return fmt::format("{:.0f} %", 100 * seconds / of); }

std::string slowed_text(const GpuUse& use) {
  if (*use.slowed_seconds <= 0) return "never slowed down";
  std::vector<std::string> reasons;
  for (const auto& [reason, seconds] : use.slowed) {
    reasons.push_back(fmt::format("{} {}", reason, share(seconds, use.seconds)));
  }
  return fmt::format("slowed down {} of the time ({})", share(*use.slowed_seconds, use.seconds),
                     fmt::join(reasons, ", "));
}

}  // namespace

void GpuUse::add(const GpuUse& next) {
  if (next.joules) joules = joules.value_or(0) + *next.joules;
  sm_mhz = mean(sm_mhz, seconds, next.sm_mhz, next.seconds);
  memory_mhz = mean(memory_mhz, seconds, next.memory_mhz, next.seconds);
  if (next.celsius) celsius = std::max(celsius.value_or(*next.celsius), *next.celsius);
  for (const auto& [reason, time] : next.slowed) slowed[reason] += time;
  if (next.slowed_seconds) slowed_seconds = slowed_seconds.value_or(0) + *next.slowed_seconds;
  seconds += next.seconds;
}

std::optional<double> GpuUse::watts() const {
  if (!joules || seconds <= 0) return std::nullopt;
  return *joules / seconds;
}

std::string gpu_use_text(const GpuUse& use) {
  if (use.seconds <= 0) return {};
  std::vector<std::string> facts;
  if (use.joules) facts.push_back(fmt::format("{:.3g} kWh", *use.joules / kJoulesPerKwh));
  if (use.joules) facts.push_back(fmt::format("{:.0f} W on average", *use.watts()));
  if (use.slowed_seconds) facts.push_back(slowed_text(use));
  return fmt::format("{}", fmt::join(facts, ", "));
}

}  // namespace centavo
