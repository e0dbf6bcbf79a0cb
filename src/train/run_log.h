// Everything a run writes down for people: the progress line, metrics.jsonl, TensorBoard's events, the report.
//
// Rates are those of training: the time of validation, samples and checkpoints counts in the run's time and cost, not
// in tokens/s. All times are the steady clock's.
#pragma once

#include <optional>
#include <string>

#include "train/metrics_log.h"
#include "train/progress.h"
#include "train/run_facts.h"
#include "train/tensorboard.h"

namespace centavo {

// What turns a step into rates and money.
struct StepCosts {
  int64_t tokens = 0;
  double flops = 0;
  int64_t planned_bytes = 0;
};

class RunLog {
 public:
  // New files; or, for a run that goes on at the step `resumed_at`, the ones that are there, whose time and cost count.
  // `progress` must outlive the log.
  RunLog(std::string out_dir, const RunFacts& facts, const StepCosts& costs, std::optional<int64_t> resumed_at,
         ProgressLog& progress);

  // `step` counts finished steps; `seconds` is what this one took.
  void step(int64_t step, double seconds, double loss, double learning_rate, double grad_norm);
  void validation(ValidationRecord record);
  void sample(const SampleRecord& record);
  void gpu(GpuRecord record);
  // Of the whole run, as far as it has been logged.
  const GpuUse& gpu_use() const { return metrics_.gpu_use(); }
  // Renders OUT/report.html from what has been logged.
  void write_report() const;

 private:
  double now() const { return steady_seconds() - started_; }

  std::string out_dir_;
  RunFacts facts_;
  StepCosts costs_;
  ProgressLog& progress_;
  MetricsLog metrics_;
  EventLog events_;
  int64_t first_step_;
  double started_ = steady_seconds();
  double training_seconds_ = 0;
};

}  // namespace centavo
