// Times a few steps of a run op by op, and none of the others.
//
// Sampled are three steps after two that warm caches and libraries up, and the one that a timeline is wanted of. A
// sampled step runs as every other does but for one look at the clock after each op; it computes the same bits.
#pragma once

#include <cstdint>
#include <optional>
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

  // For Machine::step of the next step; empty when that is not sampled. Its time starts now.
  OpObserver observer(const Program& program);
  // The next step has ended and took so long from beginning to end.
  void step_ended(double seconds);

  // The spans of the step that has just ended, when a timeline of it is wanted; else null.
  const std::vector<Span>* to_trace() const;
  // Of the steps sampled for comparison the one of median length; null before there is one. It points into the program
  // that ran.
  const std::vector<Span>* typical() const;
  // Mean over the steps after the warm-up that were not sampled; over the sampled ones where there are no others.
  double mean_step_seconds() const;

 private:
  bool compares(int64_t step) const;
  bool traces(int64_t step) const { return step == trace_step_; }

  bool compare_;
  int64_t trace_step_;  // 0: none
  int64_t ended_ = 0;
  std::vector<Span> running_;
  double origin_ = 0;
  std::vector<std::vector<Span>> samples_;
  double sampled_seconds_ = 0;
  double plain_seconds_ = 0;
  int64_t plain_steps_ = 0;
};

}  // namespace centavo
