// metrics.jsonl: what a run measured, one JSON object a line.
//
//   line 1      the run's facts (train/run_facts.h)
//   start       {"start": 0, "unix": seconds}
//   resume      {"resume": step, "unix", "seconds_before", "cost_before", "gpu_before": as a GPU line without step and
//                time, "run": facts of this start}
//   step        {"step", "tokens", "loss", "lr", "grad_norm", "tok_s", "mfu", "mem", "time", "cost"}
//   validation  {"step", "validation_loss", "bits_per_byte", "validation_bytes", "validation_tokens",
//                "validation_windows", "time"}
//   sample      {"step", "sample", "prompt"}
//   GPU         {"step", "gpu_seconds", "gpu_joules", "sm_mhz", "memory_mhz", "celsius", "slowed", "slowed_seconds",
//                "time"}: since the last such line; means, but for the highest temperature; seconds by reason in which
//                clocks were lowered; what the GPU does not tell is left out
//
// "step" counts finished steps: the first one writes 1, what is measured before it 0. NaN and infinities are the
// strings "NaN", "Infinity" and "-Infinity". New keys and new kinds of lines may appear, none changes its meaning;
// readers skip what they do not know. A value that a float holds is written with a float's digits.
//
// A line is appended with one write, so a crash tears at most the last one. A last line without its line end is torn.
//
// Errors: UserError with path:line for anything damaged before the last line; IoError when a write fails.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "train/gpu_use.h"
#include "train/run_facts.h"

namespace centavo {

struct StepRecord {
  int64_t step = 0;
  int64_t tokens = 0;  // trained on since the run's first step
  double loss = 0;     // nats per token
  double lr = 0;
  double grad_norm = 0;
  double tok_s = 0;
  std::optional<double> mfu = {};   // share of the measured peak, 0 to 1
  int64_t mem = 0;                  // bytes planned
  double time = 0;                  // seconds since this start
  std::optional<double> cost = {};  // dollars since the run's first step; MetricsLog derives it from price and time
};

struct ValidationRecord {
  int64_t step = 0;
  double loss = 0;  // nats per token
  double bits_per_byte = 0;
  int64_t bytes = 0;
  int64_t tokens = 0;
  double time = 0;      // seconds since this start
  int64_t windows = 0;  // of the validation split; 0 in logs that do not tell
};

struct SampleRecord {
  int64_t step = 0;
  std::string text;  // any bytes, without the prompt
  std::string prompt;
};

struct GpuRecord {
  int64_t step = 0;
  double time = 0;  // seconds since this start
  GpuUse use = {};
};

// One process that wrote to the log.
struct Start {
  int64_t step = 0;  // steps finished before it
  int64_t unix_seconds = 0;
  double seconds_before = 0;  // of all earlier starts, their discarded steps included
  double cost_before = 0;
  GpuUse gpu_before = {};  // of all earlier starts, as seconds_before
  RunFacts facts = {};
  size_t validations_before = 0;  // how many stand before it in the log
  size_t gpu_lines_before = 0;
};

struct MetricsFile {
  std::vector<Start> starts;  // at least one
  std::vector<StepRecord> steps;
  std::vector<ValidationRecord> validations;
  std::vector<SampleRecord> samples;
  std::vector<GpuRecord> gpu;

  const RunFacts& facts() const { return starts.back().facts; }
};

std::string metrics_path(const std::string& run_dir);

MetricsFile read_metrics(const std::string& path);

// The start in which `step` was done.
const Start& start_of(const MetricsFile& metrics, int64_t step);
// Seconds and dollars that all starts took, as far as lines tell.
double wall_seconds(const MetricsFile& metrics);
std::optional<double> total_cost(const MetricsFile& metrics);
// What the GPU took over all starts, likewise.
GpuUse total_gpu_use(const MetricsFile& metrics);

// What has been measured of the weights after a step.
struct Measured {
  int64_t validation_windows = 0;  // of the largest validation
  bool sampled = false;
  int64_t max_steps = 0;  // of the start that wrote last
};
// What the log of `run_dir` tells of it; all 0 without a log.
Measured measured_at(const std::string& run_dir, int64_t step);

class MetricsLog {
 public:
  // A new log in the existing directory `dir`, in place of one that is there; or, with `resume_step`, the one that is
  // there without its torn last line and all lines beyond that step (a new one if there is none).
  MetricsLog(const std::string& dir, const RunFacts& facts, std::optional<int64_t> resume_step);

  void step(const StepRecord& record);
  void validation(const ValidationRecord& record);
  void sample(const SampleRecord& record);
  void gpu(const GpuRecord& record);

  // Of the whole run, as far as it has been logged.
  const GpuUse& gpu_use() const { return gpu_use_; }
  // Dollars of the whole run `time` seconds into this start; nothing without a price.
  std::optional<double> cost_at(double time) const;

 private:
  MetricsLog(const std::string& dir, const RunFacts& facts, const Start& start);

  double cost_before_ = 0;
  GpuUse gpu_use_;
  std::optional<double> price_per_hour_;
  AppendFile file_;  // last: opened once the file is written
};

}  // namespace centavo
