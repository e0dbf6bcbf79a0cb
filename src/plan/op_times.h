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
#include "train/step_program.h"

namespace centavo {

// How long the ops of a program are timed.
struct TimingEffort {
  int64_t least_steps = 3;
  int64_t most_steps = 30;
  double seconds = 1;          // after the least steps
  double warm_up_seconds = 0;  // before the first timed step, after one step at least; GPUs slow down under load
};

// Was a thread of this process taken off its processor during a call, or during the one before: then a thread may have
// come late.
enum class Timing : uint8_t { clean, disturbed };

// What speaks for the calls of a case.
enum class Typical : uint8_t {
  lower_quartile,  // of processors: what else runs there only adds time
  middle_mean,     // of GPUs, which are ours alone: the mean without the slowest and the fastest quarter, so that the
                   // times of a step's ops add up to the step
};
Typical typical_on(DeviceKind device);

// Every call of every case that was timed.
class OpTimes {
 public:
  explicit OpTimes(Typical typical = Typical::lower_quartile) : typical_(typical) {}
  void add(const OpCase& op, double seconds, Timing timing);
  // What is typical of each case's clean calls, or of all where fewer than three are clean, ordered by signature and
  // extents.
  std::vector<OpSample> samples() const;
  double disturbed_share() const;

 private:
  struct Timed {
    Cost cost;
    std::vector<double> clean;
    std::vector<double> disturbed;
  };
  Typical typical_;
  std::map<std::pair<std::string, std::vector<int64_t>>, Timed> timed_;
};

// Bytes of the device's memory; of a processor's, what is offloaded too.
int64_t memory_needed(const Program& program, DeviceKind device);

// The training program of a run on this worker alone. Throws OutOfMemory when its arenas need more than `memory_bytes`.
Program probe_program(const OpTable& ops, const RunConfig& config, const Worker& worker, int64_t memory_bytes);

// Runs a training program of `config` on the worker's device with random parameters and tokens, each sequence one
// document, and adds the times of its ops. On a GPU steps follow each other without a pause, and those that are timed
// (Machine::timed_step) run behind others, at the clock that the GPU keeps under load.
void time_ops(const OpTable& ops, Program program, const RunConfig& config, const Worker& worker,
              const TimingEffort& effort, OpTimes& times);

}  // namespace centavo
