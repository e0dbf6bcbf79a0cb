// Looks at the status pages (train/rank_status.h) of ranks on this computer and says who is dead or hangs.
//
//   dead   the process is gone and its page says neither `finished` nor `failed`
//   hung   the page has not beaten for `beat_limit_s` while this watcher looked, or the process is stopped that long,
//   or
//          there is no page `start_limit_s` after the start
//
// Silence is counted while the watcher looks, not by clocks: when the whole computer pauses, nobody hangs. A rank whose
// beating thread waits for the disk is given ten times as long.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/rank_status.h"

namespace centavo {

struct WatchLimits {
  double beat_limit_s = 10;
  double start_limit_s = 120;
};

class RankWatch {
 public:
  // Pages with another mark than `launch` are those of other runs and not looked at.
  RankWatch(std::string out_dir, std::string launch, int64_t ranks, const WatchLimits& limits);

  struct Rank {
    std::optional<RankReport> report;  // the newest
    bool dead = false;
    bool stopped = false;
    double silent_s = 0;
    double limit_s = 0;  // of its silence
    bool hung() const { return !dead && silent_s >= limit_s; }
  };

  // `seconds` have passed since the last look.
  void look(double seconds);
  const std::vector<Rank>& ranks() const { return ranks_; }
  // The rank that was the first to be seen dead, while no page said `failed`: who fails takes the others along. Of
  // several at once the lowest.
  std::optional<int64_t> first_dead() const { return first_dead_; }
  std::optional<int64_t> first_hung() const;
  bool all_have_pages() const;
  bool any_has_page() const;

  // To every rank with a page that still is the process that made it.
  void signal(int number) const;
  bool any_runs() const;

 private:
  void look_at(int64_t index, bool ran, double seconds);
  double limit_of(const RankReport& report) const;

  std::string out_dir_;
  std::string launch_;
  WatchLimits limits_;
  std::vector<Rank> ranks_;
  std::optional<int64_t> first_dead_;
};

}  // namespace centavo
