// Measures a machine: its ceilings, and the ops of the ladder's programs (plan/probe.h).
#pragma once

#include <functional>
#include <string>

#include "machine/virtual/profile.h"
#include "plan/probe.h"
#include "program/op_table.h"

namespace centavo {

struct Calibration {
  Ladder ladder = Ladder::full;
  int threads = 1;
  std::string disk_directory;  // whose disk is measured
  int64_t memory_bytes = 0;    // probes that need more are passed over, and told to `progress`
  // Told before each part what it is, and which of how many.
  std::function<void(int64_t part, int64_t parts, const std::string& what)> progress = [](int64_t, int64_t,
                                                                                          const std::string&) {};
};

// Who measured (`commit`, `date`, `machine`, `features`) is left to the caller.
Profile calibrate(const OpTable& ops, const Calibration& calibration);

}  // namespace centavo
