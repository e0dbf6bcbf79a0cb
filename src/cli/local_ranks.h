// The options --ranks, --max-restarts and --min-ranks of commands that train, and what each rank hears of its parent.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace centavo {

struct LocalRanks {
  int64_t ranks = 0;  // 0: not given
  int64_t max_restarts = 0;
  int64_t min_ranks = 0;
  std::string launch;          // of a rank: its parent's mark
  bool live_progress = false;  // of a rank: its parent writes to a terminal
};

inline constexpr int64_t kMostLocalRanks = 1024;

// Numbers out of range are refused while the arguments are read.
void add_rank_options(CLI::App& command, LocalRanks& ranks);

// Must this process start ranks, instead of being one? UserError for options that do not go together, and for --ranks
// inside of mpirun or srun.
bool starts_ranks(const LocalRanks& ranks);

// Runs `words` (a command and its arguments) as ranks of this program, and `again` once `out` holds a checkpoint; see
// launch.h. UserError when Open MPI is missing.
void start_ranks(const LocalRanks& ranks, const std::string& out, const std::vector<std::string>& words,
                 const std::vector<std::string>& again);

}  // namespace centavo
