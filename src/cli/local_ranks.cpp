#include "cli/local_ranks.h"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>

#include "base/errors.h"
#include "base/host.h"
#include "cli/launch.h"
#include "cli/rank_place.h"
#include "machine/comm/mpi.h"

namespace centavo {
namespace {

CLI::Validator whole_number(int64_t least, int64_t most) {
  const auto check = [=](const std::string& text) -> std::string {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    if (whole && value >= least && value <= most) return {};
    return fmt::format("takes a whole number from {} to {}, not '{}'", least, most, text);
  };
  return CLI::Validator(check, "");
}

const char* environment(const char* name) { return std::getenv(name); }

// Whether this build has MPI is asked before anything starts.
std::string find_mpirun() {
  const char* path = environment("PATH");
  std::string mpirun = find_program("mpirun", path == nullptr ? "" : path);
  if (mpirun.empty()) {
    user_error("--ranks needs mpirun, which is not in PATH; install openmpi-bin and libopenmpi-dev");
  }
  return mpirun;
}

std::vector<std::string> program_with(const std::vector<std::string>& words) {
  std::vector<std::string> all = {std::filesystem::read_symlink("/proc/self/exe")};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

}  // namespace

void add_rank_options(CLI::App& command, LocalRanks& ranks) {
  command.add_option("--ranks", ranks.ranks, "Train on N ranks of this computer, through mpirun")
      ->type_name("N")
      ->check(whole_number(1, kMostLocalRanks));
  command.add_option("--max-restarts", ranks.max_restarts, "Start again up to M times when a rank dies or hangs")
      ->type_name("M")
      ->check(whole_number(0, 1'000'000));
  command.add_option("--min-ranks", ranks.min_ranks, "Start again with one rank fewer each time, down to K")
      ->type_name("K")
      ->check(whole_number(1, kMostLocalRanks));
  command.add_option(kLaunchFlag, ranks.launch)->group("");  // hidden: the parent gives it
  command.add_flag(kLiveFlag, ranks.live_progress)->group("");
}

bool starts_ranks(const LocalRanks& ranks) {
  if (ranks.ranks == 0 && (ranks.max_restarts > 0 || ranks.min_ranks > 0)) {
    user_error("--max-restarts and --min-ranks go with --ranks; add --ranks N");
  }
  if (ranks.ranks == 0) return false;
  if (ranks.min_ranks > ranks.ranks) {
    user_error("--min-ranks {} is more than --ranks {}; give fewer", ranks.min_ranks, ranks.ranks);
  }
  if (const auto place = rank_place(environment)) {
    user_error("--ranks starts ranks of its own and {} has started this one; leave --ranks out", place->launcher);
  }
  return ranks.ranks > 1 || ranks.max_restarts > 0;
}

void start_ranks(const LocalRanks& ranks, const std::string& out, const std::vector<std::string>& words,
                 const std::vector<std::string>& again) {
  if (ranks.ranks > 1) require_mpi();
  launch({.out = out,
          .command = program_with(words),
          .again = program_with(again),
          .by_hand = {"centavo", "resume", out},
          .mpirun = ranks.ranks > 1 ? find_mpirun() : "",
          .ranks = ranks.ranks,
          .max_restarts = ranks.max_restarts,
          .min_ranks = ranks.min_ranks,
          .live_progress = ::isatty(STDOUT_FILENO) != 0});
}

}  // namespace centavo
