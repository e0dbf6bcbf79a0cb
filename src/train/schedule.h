// The learning rate of a step.
//
//   s < w          lr(s) = learning_rate * (s + 1) / w                            warm-up, w = warmup_steps
//   s >= w         p = min(1, (s - w) / max(1, max_steps - w)),  m = min_lr_ratio
//     constant     lr(s) = learning_rate
//     linear       lr(s) = learning_rate * (m + (1 - m) * (1 - p))
//     cosine       lr(s) = learning_rate * (m + (1 - m) * (1 + cos(pi p)) / 2)
//     wsd          lr(s) = learning_rate                                       up to the last d = decay_steps steps,
//     then
//                  lr(s) = learning_rate * (m + (1 - m) * (1 - sqrt(q))),  q = min(1, (s - max_steps + d) / d)
//
// wsd is warmup-stable-decay: until the decay begins nothing depends on max_steps, so a run may be extended from a
// checkpoint before it. decay_steps 0 stands for a fifth of max_steps; it is cut to what the warm-up leaves.
// s counts from 0; the fraction m is reached at s = max_steps, one step after the last, so that no step of a run to
// zero is spent at zero. Computed in f64, a pure function of its arguments.
//
// Source: Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017, without restarts; Hägele
// et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024 (wsd with 1 - sqrt).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace centavo {

enum class Decay : uint8_t { constant, linear, cosine, wsd };

struct Schedule {
  Decay decay = Decay::cosine;
  double learning_rate = 0;
  int64_t warmup_steps = 0;
  double min_lr_ratio = 0;
  int64_t max_steps = 0;
  int64_t decay_steps = 0;  // of wsd
};

struct RunConfig;  // train/run_config.h
Schedule schedule_of(const RunConfig& config);

double learning_rate_at(const Schedule& schedule, int64_t step);

// The names in the order of Decay.
const std::vector<std::string>& decay_names();
// `name` must be one of decay_names().
Decay decay_of(const std::string& name);

}  // namespace centavo
