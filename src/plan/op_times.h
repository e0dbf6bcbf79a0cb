// Times of ops, measured where they stand: in the step of a training program, with the caches as the ops before leave
// them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "machine/virtual/profile.h"
#include "program/op_table.h"
#include "train/run_config.h"

namespace centavo {

// How long the ops of a program are timed.
struct TimingEffort {
  int64_t least_steps = 3;
  int64_t most_steps = 30;
  double seconds = 1;  // after the least steps
};

// Was a thread of this process taken off its processor during a call, or during the one before: then a thread may have
// come late.
enum class Timing : uint8_t { clean, disturbed };

// Every call of every case that was timed.
class OpTimes {
 public:
  void add(const OpCase& op, double seconds, Timing timing);
  // The lower quartile of each case's clean calls, or of all where fewer than three are clean, ordered by signature and
  // extents.
  std::vector<OpSample> samples() const;
  double disturbed_share() const;

 private:
  struct Timed {
    Cost cost;
    std::vector<double> clean;
    std::vector<double> disturbed;
  };
  std::map<std::pair<std::string, std::vector<int64_t>>, Timed> timed_;
};

// Runs the training program of `config` alone on `threads` threads with random parameters and tokens, each sequence one
// document, and adds the times of its ops; a first step is not timed. Throws OutOfMemory when its arenas need more than
// `memory_bytes`.
void time_ops(const OpTable& ops, const RunConfig& config, int threads, int64_t memory_bytes,
              const TimingEffort& effort, OpTimes& times);

}  // namespace centavo
