#include "train/step_sampler.h"

#include <algorithm>

#include "base/errors.h"

namespace centavo {
namespace {

constexpr int64_t kWarmUpSteps = 2;
constexpr int64_t kSamples = 3;

}  // namespace

StepSampler::StepSampler(const Wish& wish, int64_t steps)
    : compare_(wish.compare), trace_step_(wish.trace_step ? std::min(*wish.trace_step, steps) : 0) {}

void StepSampler::give_up() {
  compare_ = false;
  trace_step_ = 0;
  samples_.clear();
}

bool StepSampler::compares(int64_t step) const {
  return compare_ && step > kWarmUpSteps && step <= kWarmUpSteps + kSamples;
}

void StepSampler::step_ended(double seconds) {
  ++ended_;
  if (compares(ended_)) {
    samples_.push_back(sampled_);
  } else if (ended_ > kWarmUpSteps && !traces(ended_)) {
    plain_seconds_ += seconds;
    ++plain_steps_;
  }
}

const std::vector<Span>* StepSampler::to_trace() const { return ended_ > 0 && traces(ended_) ? &sampled_ : nullptr; }

const std::vector<Span>* StepSampler::typical() const {
  if (samples_.empty()) return nullptr;
  std::vector<const std::vector<Span>*> sorted;
  for (const std::vector<Span>& sample : samples_) sorted.push_back(&sample);
  std::ranges::sort(sorted, {}, [](const std::vector<Span>* sample) { return end_of(*sample); });
  return sorted[sorted.size() / 2];
}

double StepSampler::mean_step_seconds() const {
  if (plain_steps_ > 0) return plain_seconds_ / static_cast<double>(plain_steps_);
  double seconds = 0;
  for (const std::vector<Span>& sample : samples_) seconds += end_of(sample);
  return samples_.empty() ? 0 : seconds / static_cast<double>(samples_.size());
}

// Catches, because a run is worth more than the times of its ops.
std::string run_step(Machine& machine, StepSampler& sampler) {
  std::string trouble;
  if (sampler.samples_next()) {
    try {
      machine.prepare_timed_step();
    } catch (const DeviceError& error) {
      trouble = fmt::format("the ops of a step cannot be timed: {}; going on without", error.what());
      sampler.give_up();
    }
  }
  if (sampler.samples_next()) {
    sampler.sampled(machine.timed_step());
  } else {
    machine.step();
  }
  return trouble;
}

}  // namespace centavo
