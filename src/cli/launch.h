// Ranks on this computer: starts them through mpirun, stays their parent, says who failed, starts again.
//
// The ranks' standard output and error are passed on, mpirun's own remarks are not. The first SIGINT, SIGTERM or SIGHUP
// goes to every rank as SIGTERM, and they end together; a second SIGINT or SIGTERM ends all of them at once, and this
// process with 128 + its number. No rank is left when launch() comes to its end, nor when this process is killed:
// mpirun then gets SIGTERM, and a rank that loses mpirun SIGKILL.
//
// A rank that dies or hangs (rank_watch.h) ends the job. The sentence that says so names the rank, its host, what it
// did last, the last checkpoint and the command that goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/rank_watch.h"

namespace centavo {

struct LaunchOptions {
  std::string out;                   // the run's directory
  std::vector<std::string> command;  // of a rank: the program's full path and its arguments
  std::vector<std::string> again;    // the same to go on once `out` holds a checkpoint
  std::vector<std::string> by_hand;  // what a user types to go on; --ranks N is added
  std::string mpirun;                // its full path; empty for one rank that needs none
  int64_t ranks = 1;
  int64_t max_restarts = 0;
  int64_t min_ranks = 0;  // each restart takes one rank fewer, down to this many; 0: always as many
  bool live_progress = false;
  WatchLimits limits = {};
};

// How a rank hears of its parent: the mark that goes into its status page, and whether the parent writes to a terminal
// (mpirun's pipes hide that). Added to `command` and `again`.
inline constexpr const char* kLaunchFlag = "--launch";
inline constexpr const char* kLiveFlag = "--live-progress";

// Returns when all ranks have ended well. Throws LaunchFailed with the ranks' exit code (2 and 3 at once; 4, death and
// hang after `max_restarts` restarts), IoError when a process cannot be started.
void launch(const LaunchOptions& options);

}  // namespace centavo
