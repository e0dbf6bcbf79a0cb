// What a run is predicted to take, what it took, and the timeline of one of its steps.

#include "machine/virtual/trace.h"
#include "train/forecast_text.h"
#include "train/trainer.h"

namespace centavo {
namespace {

// "step.json" of rank 1 is "step.rank-00001.json".
std::string of_rank(const std::string& file, int64_t rank) {
  const size_t name = file.rfind('/') == file.npos ? 0 : file.rfind('/') + 1;
  const size_t dot = file.rfind('.');
  const size_t at = dot == file.npos || dot <= name ? file.size() : dot;
  return fmt::format("{}.rank-{:05}{}", file.substr(0, at), rank, file.substr(at));
}

}  // namespace

// Rank 0 speaks for all. In debug mode no step takes the time that was predicted.
StepSampler::Wish Trainer::sampling() const {
  StepSampler::Wish wish;
  if (options_.debug) return wish;
  wish.compare = forecast_.has_value();
  if (!options_.trace.empty()) wish.trace_step = options_.trace_step;
  return wish;
}

void Trainer::announce_forecast() {
  if (!leads()) return;
  if (options_.costs == nullptr) {
    if (!options_.why_unpredicted.empty()) progress_.line("predicted  " + options_.why_unpredicted);
    return;
  }
  forecast_ = forecast(ops_, config_, worker_, program_, *options_.costs, steps_done_);
  for (const std::string& line : forecast_lines(*forecast_, *options_.costs)) progress_.line(line);
}

void Trainer::step_machine() {
  if (options_.debug) return machine_->step(look_at_each_op());
  if (!sampler_) return machine_->step();
  if (const std::string trouble = run_step(*machine_, *sampler_); !trouble.empty()) {
    progress_.line("warning    " + trouble);
  }
}

void Trainer::compare_forecast() {
  if (!forecast_ || sampler_->typical() == nullptr) return;
  for (const std::string& line : comparison_lines(*forecast_, *sampler_->typical(), sampler_->mean_step_seconds())) {
    progress_.line(line);
  }
}

// Catches, because a run is worth more than a picture of it.
void Trainer::trace_if_due() {
  const std::vector<Span>* spans = sampler_->to_trace();
  if (spans == nullptr) return;
  const int64_t rank = world_.rank();
  const std::string file = world_.ranks() > 1 ? of_rank(options_.trace, rank) : options_.trace;
  try {
    write_trace(file, *spans, machine_->program(), ops_, {rank, fmt::format("rank {}, step {}", rank, steps_done_)});
    progress_.line(fmt::format("trace      step {} in {}", steps_done_, file));
  } catch (const IoError& error) {
    progress_.line(fmt::format("warning    the trace could not be written: {}", error.what()));
  }
}

}  // namespace centavo
