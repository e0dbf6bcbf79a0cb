#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/errors.h"
#include "train/run_config.h"

namespace centavo {
namespace {

// From 1 at progress 0 to 0 at progress 1.
double remaining(Decay decay, double progress) {
  switch (decay) {
    case Decay::constant: return 1;
    case Decay::linear: return 1 - progress;
    case Decay::cosine: return (1 + std::cos(std::numbers::pi * progress)) / 2;
    case Decay::wsd: return 1 - std::sqrt(progress);
  }
  return 1;
}

// The steps over which the rate falls: the last ones of the run.
int64_t falling_steps(const Schedule& s) {
  const int64_t rest = std::max<int64_t>(1, s.max_steps - s.warmup_steps);
  if (s.decay != Decay::wsd) return rest;
  return std::clamp<int64_t>(s.decay_steps > 0 ? s.decay_steps : s.max_steps / 5, 1, rest);
}

}  // namespace

Schedule schedule_of(const RunConfig& config) {
  return {.decay = decay_of(config.schedule),
          .learning_rate = config.learning_rate,
          .warmup_steps = config.warmup_steps,
          .min_lr_ratio = config.min_lr_ratio,
          .max_steps = config.max_steps,
          .decay_steps = config.decay_steps};
}

double learning_rate_at(const Schedule& schedule, int64_t step) {
  CHECK(step >= 0, "step {}", step);
  const int64_t warmup = schedule.warmup_steps;
  if (step < warmup) return schedule.learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const int64_t falling = falling_steps(schedule);
  const int64_t start = std::max(warmup, schedule.max_steps - falling);
  const double progress = std::clamp(static_cast<double>(step - start) / static_cast<double>(falling), 0.0, 1.0);
  const double least = schedule.decay == Decay::constant ? 1 : schedule.min_lr_ratio;
  return schedule.learning_rate * (least + (1 - least) * remaining(schedule.decay, progress));
}

const std::vector<std::string>& decay_names() {
  static const std::vector<std::string> names = {"constant", "linear", "cosine", "wsd"};
  return names;
}

Decay decay_of(const std::string& name) {
  const std::vector<std::string>& names = decay_names();
  const auto found = std::find(names.begin(), names.end(), name);
  CHECK(found != names.end(), "{} is no schedule", name);
  return static_cast<Decay>(found - names.begin());
}

}  // namespace centavo
