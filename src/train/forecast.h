// What a run will take on a machine, before it runs: the placed programs walked by the virtual machine.
//
// Counted are the training steps, the validations and the checkpoints (bytes over the disk's write rate, where that is
// known). A step is its ops; what happens between them is not counted. Documents are taken to be as long as a sequence.
// On several ranks it is one rank's step; messages between ranks cost what their bytes cost in memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "machine/virtual/cost_source.h"
#include "machine/virtual/virtual_machine.h"
#include "program/op_table.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo {

struct KindForecast {
  std::string kind;
  int64_t calls = 0;
  double seconds = 0;
  double floor_seconds = 0;
};

struct Repeated {
  int64_t times = 0;
  double seconds = 0;  // all of them together
};

struct Forecast {
  Forecast() = default;
  Forecast(Forecast&&) = default;  // spans point into `program`, which moves without moving its ops
  Forecast& operator=(Forecast&&) = default;

  Program program;          // the training step that was walked
  std::vector<Span> spans;  // of it
  double step_seconds = 0;
  double floor_seconds = 0;              // of a step at the machine's ceilings
  std::vector<KindForecast> kinds;       // the longest first; on one lane their seconds add up to the step's
  std::array<double, kLanes> busy = {};  // seconds of a step in which the lane works
  int64_t step_tokens = 0;               // over all ranks
  int threads = 1;                       // of a rank
  Repeated steps;                        // from the step asked for to the end
  Repeated validations;
  Repeated checkpoints;  // no seconds when the disk is not known
  std::optional<double> price_per_hour;
  std::vector<std::string> not_counted;  // in words

  double run_seconds() const { return steps.seconds + validations.seconds + checkpoints.seconds; }
  double tokens_per_second() const { return static_cast<double>(step_tokens) / step_seconds; }
  std::optional<double> dollars() const;
};

// `training` is the worker's placed program. A run that goes on after `steps_done` steps is counted from there.
Forecast forecast(const OpTable& ops, const RunConfig& config, const Worker& worker, const Program& training,
                  const CostSource& costs, int64_t steps_done = 0);

}  // namespace centavo
