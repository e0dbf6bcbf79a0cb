// What the system says of another process of this computer.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace centavo {

struct ProcessStat {
  char state = '?';  // R running, S sleeping, D waiting for a disk, T stopped, t traced, Z ended, not yet reaped
  uint64_t start_ticks = 0;  // since the computer's start; with the id it names one process, whatever comes after it
};

// From /proc/PID/stat; nothing when there is no such process. Source: proc(5).
std::optional<ProcessStat> process_stat(pid_t pid);
// The same for one thread of a process.
std::optional<ProcessStat> thread_stat(pid_t pid, pid_t thread);

// Does the process still run that had this id and start? One that only waits to be reaped does not.
bool still_runs(pid_t pid, uint64_t start_ticks);

}  // namespace centavo
