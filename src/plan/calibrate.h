// Measures a machine: its ceilings, and the ops of programs: the ladder's (plan/probe.h), or those of a run.
#pragma once

#include <functional>
#include <string>

#include "machine/virtual/profile.h"
#include "plan/probe.h"
#include "program/op_table.h"
#include "train/step_program.h"

namespace centavo {

struct Calibration {
  Ladder ladder = Ladder::full;
  Worker worker = 1;           // alone, on the device that is measured
  std::string disk_directory;  // whose disk is measured
  int64_t memory_bytes = 0;    // probes that need more are passed over, and told to `progress`
  // Told before each part what it is, and which of how many.
  std::function<void(int64_t part, int64_t parts, const std::string& what)> progress = [](int64_t, int64_t,
                                                                                          const std::string&) {};
};

// What the worker's device is; nothing that is measured. When and by which commit is left to the caller, here and
// below.
Profile profile_of_device(const Worker& worker);

// The same with its ceilings and the disk's, no samples.
Profile measure_ceilings(const OpTable& ops, const Calibration& calibration);

// The same with the samples of the ladder.
Profile calibrate(const OpTable& ops, const Calibration& calibration);

// Times the ops of a run's step (plan/run_probe.h) for ten seconds and more on a GPU, or two when the ladder is the
// quick one, and puts them into the profile, which must be of the worker's device. Errors are those of probe_of_run.
void calibrate_run(const OpTable& ops, const RunConfig& config, const Calibration& calibration, Profile& profile);

}  // namespace centavo
