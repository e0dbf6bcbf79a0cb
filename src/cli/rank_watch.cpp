#include "cli/rank_watch.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "base/process_stat.h"

namespace centavo {
namespace {

constexpr double kDiskPatience = 10;
// A longer pause between two looks is the watcher's own.
constexpr double kLongestLook_s = 1;

bool has_ended(RankState state) { return state == RankState::finished || state == RankState::failed; }

bool has_failed(const RankWatch::Rank& rank) { return rank.report && rank.report->state == RankState::failed; }

bool runs(const RankWatch::Rank& rank) { return rank.report && still_runs(rank.report->pid, rank.report->start_ticks); }

}  // namespace

RankWatch::RankWatch(std::string out_dir, std::string launch, int64_t ranks, const WatchLimits& limits)
    : out_dir_(std::move(out_dir)), launch_(std::move(launch)), limits_(limits), ranks_(static_cast<size_t>(ranks)) {
  for (Rank& rank : ranks_) rank.limit_s = limits_.start_limit_s;
}

// All processes first, then all pages: what one has told before it ended, and what made others end, stands there then.
void RankWatch::look(double seconds) {
  std::vector<bool> ran;
  for (const Rank& rank : ranks_) ran.push_back(runs(rank));
  for (int64_t i = 0; i < std::ssize(ranks_); ++i) {
    look_at(i, ran[static_cast<size_t>(i)], std::min(seconds, kLongestLook_s));
  }
  if (first_dead_ || std::ranges::any_of(ranks_, has_failed)) return;
  const auto dead = std::ranges::find_if(ranks_, &Rank::dead);
  if (dead != ranks_.end()) first_dead_ = dead - ranks_.begin();
}

void RankWatch::look_at(int64_t index, bool ran, double seconds) {
  Rank& rank = ranks_[static_cast<size_t>(index)];
  const bool known = rank.report.has_value();
  const std::optional<RankReport> report = read_rank_status(out_dir_, index);
  const bool beat = report && (!known || report->beats != rank.report->beats);
  if (report && report->identity.launch == launch_) rank.report = report;
  if (!rank.report) {
    rank.silent_s += seconds;
    return;
  }
  const std::optional<ProcessStat> stat = process_stat(rank.report->pid);
  rank.stopped = stat && (stat->state == 'T' || stat->state == 't');
  rank.limit_s = limit_of(*rank.report);
  const bool silent = !beat && (rank.stopped || !has_ended(rank.report->state));
  rank.silent_s = silent ? rank.silent_s + seconds : 0;
  rank.dead = known && !ran && !has_ended(rank.report->state);
}

double RankWatch::limit_of(const RankReport& report) const {
  const std::optional<ProcessStat> thread = thread_stat(report.pid, report.beat_thread);
  return thread && thread->state == 'D' ? kDiskPatience * limits_.beat_limit_s : limits_.beat_limit_s;
}

std::optional<int64_t> RankWatch::first_hung() const {
  const auto hung = std::ranges::find_if(ranks_, &Rank::hung);
  if (hung == ranks_.end()) return {};
  return hung - ranks_.begin();
}

bool RankWatch::all_have_pages() const {
  return std::ranges::all_of(ranks_, [](const Rank& rank) { return rank.report.has_value(); });
}

bool RankWatch::any_has_page() const {
  return std::ranges::any_of(ranks_, [](const Rank& rank) { return rank.report.has_value(); });
}

void RankWatch::signal(int number) const {
  for (const Rank& rank : ranks_) {
    if (runs(rank)) ::kill(rank.report->pid, number);
  }
}

bool RankWatch::any_runs() const { return std::ranges::any_of(ranks_, runs); }

}  // namespace centavo
