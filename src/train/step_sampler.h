// Which steps of a run are timed op by op, and what their times were.
//
// Sampled are three steps after two that warm caches and libraries up, and the one that a timeline is wanted of. A
// sampled step is a Machine::timed_step; it computes the same bits. Where the machine lacks the memory to time one, no
// step is sampled.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "machine/machine.h"
#include "machine/virtual/virtual_machine.h"

namespace centavo {

class StepSampler {
 public:
  // What to sample among the `steps` steps that this start will do, counted from 1. A timeline beyond the last of them
  // is one of the last.
  struct Wish {
    bool compare = false;
    std::optional<int64_t> trace_step;
  };
  StepSampler(const Wish& wish, int64_t steps);

  // Is the next step to be timed?
  bool samples_next() const { return compares(ended_ + 1) || traces(ended_ + 1); }
  // The times of that step, before it is said to have ended.
  void sampled(std::vector<Span> spans) { sampled_ = std::move(spans); }
  // No step is sampled from now on.
  void give_up();
  // The next step has ended and took so long from beginning to end.
  void step_ended(double seconds);

  // The spans of the step that has just ended, when a timeline of it is wanted; else null.
  const std::vector<Span>* to_trace() const;
  // Of the steps sampled for comparison the one of median length; null before there is one. It points into the program
  // that ran.
  const std::vector<Span>* typical() const;
  // Mean over the steps after the warm-up that were not sampled. Where there are no others, over the sampled ones, from
  // their first op to their last: getting ready to time them is no part of a step.
  double mean_step_seconds() const;

 private:
  bool compares(int64_t step) const;
  bool traces(int64_t step) const { return step == trace_step_; }

  bool compare_;
  int64_t trace_step_;  // 0: none
  int64_t ended_ = 0;
  std::vector<Span> sampled_;  // the last that was
  std::vector<std::vector<Span>> samples_;
  double plain_seconds_ = 0;
  int64_t plain_steps_ = 0;
};

// The machine's next step, sampled where that is due. Why it could not be timed, in a sentence; it has run as any other
// then, and the sampler has given up. Empty otherwise.
std::string run_step(Machine& machine, StepSampler& sampler);

}  // namespace centavo
