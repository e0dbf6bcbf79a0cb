// The figures of a run that a person asks for first.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "train/chart.h"
#include "train/metrics_log.h"

namespace centavo {

struct RunSummary {
  int64_t steps = 0;  // finished
  int64_t tokens = 0;
  std::optional<double> first_loss;
  std::optional<double> loss;  // of the last steps, smoothed
  std::optional<double> grad_norm;
  std::optional<ValidationRecord> validation;  // the last
  std::optional<double> tok_s;                 // median over the steps of the last start
  std::optional<double> mfu;
  double seconds = 0;  // of all starts
  std::optional<double> cost;
  int64_t memory_bytes = 0;  // planned
};

RunSummary summarize(const MetricsFile& metrics);

// Places around a step over which curves are smoothed.
size_t smoothing_reach(size_t steps);

// By step, one point for each record.
std::vector<Point> curve(const MetricsFile& metrics, double StepRecord::*value);

// Seconds of all starts up to each step.
std::vector<double> elapsed_seconds(const MetricsFile& metrics);

}  // namespace centavo
