#include "train/step_sampler.h"

#include <algorithm>

#include "train/progress.h"

namespace centavo {
namespace {

constexpr int64_t kWarmUpSteps = 2;
constexpr int64_t kSamples = 3;

size_t ops_in_step(const Program& program) {
  size_t ops = 0;
  for (const Call& call : program.step) {
    ops += program.find_section(call.section)->ops.size() * static_cast<size_t>(call.times);
  }
  return ops;
}

}  // namespace

StepSampler::StepSampler(const Wish& wish, int64_t steps)
    : compare_(wish.compare), trace_step_(wish.trace_step ? std::min(*wish.trace_step, steps) : 0) {}

bool StepSampler::compares(int64_t step) const {
  return compare_ && step > kWarmUpSteps && step <= kWarmUpSteps + kSamples;
}

OpObserver StepSampler::observer(const Program& program) {
  running_.clear();
  const int64_t step = ended_ + 1;
  if (!compares(step) && !traces(step)) return {};
  running_.reserve(ops_in_step(program));  // nothing is allocated inside the step
  origin_ = steady_seconds();
  return [this](int64_t call, const Section& section, const Op& op) {
    const double start = running_.empty() ? 0 : running_.back().end;
    running_.push_back({call, &section, &op, start, steady_seconds() - origin_});
  };
}

void StepSampler::step_ended(double seconds) {
  ++ended_;
  if (compares(ended_)) {
    samples_.push_back(running_);
    sampled_seconds_ += seconds;
  } else if (ended_ > kWarmUpSteps && !traces(ended_)) {
    plain_seconds_ += seconds;
    ++plain_steps_;
  }
}

const std::vector<Span>* StepSampler::to_trace() const { return ended_ > 0 && traces(ended_) ? &running_ : nullptr; }

const std::vector<Span>* StepSampler::typical() const {
  if (samples_.empty()) return nullptr;
  std::vector<const std::vector<Span>*> sorted;
  for (const std::vector<Span>& sample : samples_) sorted.push_back(&sample);
  std::ranges::sort(sorted, {}, [](const std::vector<Span>* sample) { return end_of(*sample); });
  return sorted[sorted.size() / 2];
}

double StepSampler::mean_step_seconds() const {
  if (plain_steps_ > 0) return plain_seconds_ / static_cast<double>(plain_steps_);
  return samples_.empty() ? 0 : sampled_seconds_ / static_cast<double>(samples_.size());
}

}  // namespace centavo
