// What the system says of the machine that this process runs on. Nothing is started and nothing is changed.
//
// Files are read below `root` (empty: the system's own): /proc/cpuinfo, /proc/meminfo, /proc/self/cgroup, the cgroup's
// cpu.max and memory.max (version 2) or cpu.cfs_quota_us, cpu.cfs_period_us and memory.limit_in_bytes (version 1), with
// the tightest limit up to the root of the hierarchy. What cannot be read is left empty or 0: no answer is an answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace centavo {

struct CpuFacts {
  std::string model;
  std::vector<std::string> features;  // of known_cpu_features(), as /proc/cpuinfo spells them
  double clock_hz = 0;                // of the fastest processor at this moment
  int64_t online = 0;                 // logical processors
  int64_t usable = 0;                 // of those, what the process's affinity allows
  std::optional<double> quota;        // processors' worth of time a cgroup allows
};

struct MemoryFacts {
  int64_t total_bytes = 0;
  int64_t available_bytes = 0;  // as the kernel estimates it
  std::optional<int64_t> limit_bytes;
};

// The features that kernels of this project or of oneDNN look at.
const std::vector<std::string>& known_cpu_features();

CpuFacts cpu_facts(const std::string& root = "");
MemoryFacts memory_facts(const std::string& root = "");

// Bytes that this user may still write on the file system of `path`; 0 when it cannot be said.
int64_t free_disk_bytes(const std::string& path);

// The full path of a program in PATH (given as its value); empty when there is none.
std::string find_program(const std::string& name, const std::string& path_variable);

}  // namespace centavo
