#include "train/run_log.h"

#include <fmt/format.h>

#include "train/report.h"

namespace centavo {

RunLog::RunLog(std::string out_dir, const RunFacts& facts, const StepCosts& costs, std::optional<int64_t> resumed_at,
               ProgressLog& progress)
    : out_dir_(std::move(out_dir)),
      facts_(facts),
      costs_(costs),
      progress_(progress),
      metrics_(out_dir_, facts, resumed_at),
      events_(out_dir_, resumed_at.value_or(0)),
      first_step_(resumed_at.value_or(0)) {}

void RunLog::step(int64_t step, double seconds, double loss, double learning_rate, double grad_norm) {
  training_seconds_ += seconds;
  StepRecord record = {.step = step,
                       .tokens = step * costs_.tokens,
                       .loss = loss,
                       .lr = learning_rate,
                       .grad_norm = grad_norm,
                       .tok_s = static_cast<double>(costs_.tokens) / seconds,
                       .mfu = {},
                       .mem = costs_.planned_bytes,
                       .time = now(),
                       .cost = {}};
  if (facts_.peak_flops) record.mfu = costs_.flops / seconds / *facts_.peak_flops;
  metrics_.step(record);
  events_.step(record);

  const double steps_per_second = static_cast<double>(step - first_step_) / training_seconds_;
  Standing standing = {.step = step,
                       .max_steps = facts_.max_steps,
                       .loss = loss,
                       .tokens_per_second = steps_per_second * static_cast<double>(costs_.tokens),
                       .share_of_peak = {},
                       .seconds_left = static_cast<double>(facts_.max_steps - step) / steps_per_second,
                       .cost = {}};
  if (facts_.peak_flops) standing.share_of_peak = steps_per_second * costs_.flops / *facts_.peak_flops;
  if (facts_.price_per_hour) standing.cost = metrics_.cost_at(record.time);
  progress_.standing(standing);
}

void RunLog::validation(ValidationRecord record) {
  record.time = now();
  metrics_.validation(record);
  events_.validation(record);
  progress_.line(fmt::format("step {:>6}/{}  validation loss {:.4f} nats per token, {:.3f} bits per byte", record.step,
                             facts_.max_steps, record.loss, record.bits_per_byte));
}

void RunLog::sample(const SampleRecord& record) {
  metrics_.sample(record);
  events_.sample(record);
}

void RunLog::gpu(GpuRecord record) {
  record.time = now();
  metrics_.gpu(record);
}

void RunLog::write_report() const { centavo::write_report(out_dir_); }

}  // namespace centavo
