#include "cli/launch.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>

#include "base/errors.h"
#include "cli/failure.h"
#include "cli/rank_job.h"
#include "cli/shell_words.h"
#include "cli/stop_signals.h"
#include "train/checkpoint_files.h"
#include "train/out_traces.h"

namespace centavo {
namespace {

// How a job failed, and whether another start may help.
struct End {
  Failure failure;
  bool again = false;
  int signal = 0;  // that a rank died of
};

std::string named(const RankReport& report) {
  return fmt::format("rank {} on host {}", report.identity.rank, report.identity.host);
}

// "at step 41 in %12 reduce_scatter layers.0.grad"
std::string doing(const RankReport& report) {
  if (report.state == RankState::starting) return "before its first step";
  const std::string op = report.op.empty() ? "" : " in " + report.op;
  const char* saving = report.state == RankState::saving ? " while it saved" : "";
  return fmt::format("at step {}{}{}", report.step, op, saving);
}

std::string died(const RankReport& report, const std::string& how) {
  return fmt::format("{} (pid {}) died{} {}", named(report), report.pid, how, doing(report));
}

std::string hangs(int64_t index, const RankWatch::Rank& rank) {
  if (!rank.report) return fmt::format("rank {} did not come up within {} s", index, rank.limit_s);
  const char* stopped = rank.stopped ? ", it is stopped" : "";
  return fmt::format("{} (pid {}) hangs: no sign of life for {} s{} {}", named(*rank.report), rank.report->pid,
                     rank.limit_s, stopped, doing(*rank.report));
}

// The first rank of which `wanted` is true.
template <class Wanted>
const RankReport* find_report(const RankWatch& watch, Wanted wanted) {
  for (const RankWatch::Rank& rank : watch.ranks()) {
    if (rank.report && wanted(rank)) return &*rank.report;
  }
  return nullptr;
}

bool failed(const RankWatch::Rank& rank) { return rank.report->state == RankState::failed; }

End failed_end(const RankReport& report) {
  const int code = report.failure.exit_code;
  // A mistake in the run file is nobody's in particular.
  const std::string who = code == 2 ? "" : named(report) + ": ";
  return {{code, report.failure.by_peer, who + report.failure.text}, code == 4};
}

// mpirun tells of a rank's signal as 128 + its number. 0: none.
int signal_of(int status) {
  if (WIFSIGNALED(status)) return WTERMSIG(status);
  return WEXITSTATUS(status) > 128 ? WEXITSTATUS(status) - 128 : 0;
}

// The rank that mpirun saw die first.
const RankWatch::Rank* noticed(const RankJob& job) {
  const auto& notice = job.words().notice();
  const auto& ranks = job.watch().ranks();
  if (!notice || notice->rank >= std::ssize(ranks)) return nullptr;
  const RankWatch::Rank& rank = ranks[static_cast<size_t>(notice->rank)];
  return rank.dead ? &rank : nullptr;
}

End died_end(const RankReport& report, int signal, int status) {
  std::string how;
  if (signal > 0) how = fmt::format(" (signal {})", signal);
  if (signal == 0 && WIFEXITED(status)) how = fmt::format(" (exit code {})", WEXITSTATUS(status));
  return {{4, false, died(report, how)}, true, signal};
}

// No page tells.
End silent_end(const RankJob& job) {
  const int code = WIFEXITED(job.status()) ? WEXITSTATUS(job.status()) : 4;
  const bool started = job.watch().any_has_page();
  if (job.words().said()) return {{code == 2 || code == 3 ? code : 4, false, ""}, started};
  if (const auto& notice = job.words().notice()) {  // before it had a page
    return {{4, false, fmt::format("rank {} died (signal {}) at its start", notice->rank, notice->signal)}, started};
  }
  if (!started && !job.words().banner().empty()) {
    return {{4, false, "no rank was started: " + job.words().banner()}, false};
  }
  return {{4, false, fmt::format("the ranks ended with code {} and did not say why", code)}, started};
}

// Whose fault: a rank's own error, else who died, else mpirun, else an error that only speaks of another rank.
std::optional<End> end_of(const RankJob& job, bool through_mpirun) {
  const RankWatch& watch = job.watch();
  const auto at = [&](int64_t rank) -> const RankWatch::Rank& { return watch.ranks()[static_cast<size_t>(rank)]; };
  if (job.hung()) return End{{4, false, hangs(*job.hung(), job.hung_rank())}, true};
  const auto own = [](const RankWatch::Rank& rank) { return failed(rank) && !rank.report->failure.by_peer; };
  if (const RankReport* report = find_report(watch, own)) return failed_end(*report);
  if (through_mpirun && WIFSIGNALED(job.status())) {
    return End{{4, false, fmt::format("mpirun (pid {}) died (signal {})", job.pid(), WTERMSIG(job.status()))}, true};
  }
  // Refused before it had a page: the others were only taken along.
  const int code = WIFEXITED(job.status()) ? WEXITSTATUS(job.status()) : 0;
  if ((code == 2 || code == 3) && job.words().said()) return silent_end(job);
  if (const RankWatch::Rank* rank = noticed(job))
    return died_end(*rank->report, job.words().notice()->signal, job.status());
  if (const auto first = watch.first_dead()) return died_end(*at(*first).report, signal_of(job.status()), job.status());
  if (const RankReport* report = find_report(watch, failed)) return failed_end(*report);
  if (WIFEXITED(job.status()) && WEXITSTATUS(job.status()) == 0) return {};
  return silent_end(job);
}

std::vector<int64_t> ranks_with_pages(const RankWatch& watch) {
  std::vector<int64_t> ranks;
  for (const RankWatch::Rank& rank : watch.ranks()) {
    if (rank.report) ranks.push_back(rank.report->identity.rank);
  }
  return ranks;
}

// -1 without a checkpoint.
int64_t last_checkpoint(const std::string& out) {
  const std::vector<CheckpointPlace> all = list_checkpoints(out);
  return all.empty() ? -1 : all.front().step;
}

class Launcher {
 public:
  explicit Launcher(const LaunchOptions& options) : options_(options), traces_(options.out), ranks_(options.ranks) {}

  void run() {
    found_ = last_checkpoint(options_.out);
    for (;;) {
      const int64_t before = last_checkpoint(options_.out);
      const std::optional<End> end = run_once();
      if (!end) return;
      const int64_t step = last_checkpoint(options_.out);
      in_vain_ = step > before ? 1 : in_vain_ + 1;
      if (!end->again || restarts_ == options_.max_restarts) fail(*end, step);
      start_again(*end, step);
    }
  }

 private:
  std::optional<End> run_once() {
    // What lay in `out` before is another run's, which a fresh one must refuse.
    const bool goes_on = restarts_ > 0 && last_checkpoint(options_.out) > found_;
    RankJob job(options_, goes_on ? options_.again : options_.command, ranks_);
    job.run();
    std::optional<End> end = end_of(job, !options_.mpirun.empty());
    if (end) traces_.take_back(ranks_with_pages(job.watch()));
    if (job.stopped_early() || (job.stopped() && end && end->signal == SIGTERM)) ended_by_signal();
    if (end && job.stopped()) end->again = false;
    return end;
  }

  // Asked to end before the ranks could save: they just end, as a run of one rank does.
  [[noreturn]] static void ended_by_signal() {
    std::fflush(stdout);
    ::_exit(128 + stop_signal());
  }

  void start_again(const End& end, int64_t step) {
    ++restarts_;
    if (options_.min_ranks > 0) ranks_ = std::max(options_.min_ranks, ranks_ - 1);
    const std::string from = step < 0 ? "from the beginning" : fmt::format("from step {}", step);
    fmt::print(stderr, "centavo: {}; starting again {} with --ranks {} (restart {} of {})\n", end.failure.text, from,
               ranks_, restarts_, options_.max_restarts);
  }

  [[noreturn]] void fail(const End& end, int64_t step) const {
    Failure failure = end.failure;
    if (failure.exit_code == 4 && !failure.text.empty()) failure.text += hint(step) + tries(step);
    throw LaunchFailed(failure);
  }

  std::string hint(int64_t step) const {
    if (step < 0) return "; there is no checkpoint yet";
    std::vector<std::string> words = options_.by_hand;
    words.insert(words.end(), {"--ranks", std::to_string(ranks_)});
    return fmt::format("; the last checkpoint is step {}: {}", step, shell_words(words));
  }

  std::string tries(int64_t step) const {
    if (restarts_ == 0) return "";
    const std::string place = step < 0 ? "a first checkpoint" : fmt::format("step {}", step);
    const std::string vain =
        in_vain_ > 1 ? fmt::format(", and the last {} tries did not get past {}", in_vain_, place) : "";
    return fmt::format("; --max-restarts {} is used up{}", options_.max_restarts, vain);
  }

  const LaunchOptions& options_;
  OutTraces traces_;
  int64_t ranks_;
  int64_t restarts_ = 0;
  int64_t in_vain_ = 0;  // tries in a row that ended at the same checkpoint
  int64_t found_ = -1;   // the last checkpoint before the first start
};

}  // namespace

void launch(const LaunchOptions& options) {
  ignore_write_signals();
  catch_stop_signals(SecondSignal::counts);
  Launcher(options).run();
}

}  // namespace centavo
