// One start of all ranks, from fork to the last one's end.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "cli/launch.h"
#include "cli/rank_watch.h"
#include "cli/rank_words.h"

namespace centavo {

class RankJob {
 public:
  // Starts `command` as `ranks` ranks. IoError when that fails.
  RankJob(const LaunchOptions& options, const std::vector<std::string>& command, int64_t ranks);
  RankJob(const RankJob&) = delete;
  RankJob& operator=(const RankJob&) = delete;
  // Ends what still runs.
  ~RankJob();

  // Passes words and signals on until nothing of the job runs any more. A dead or hung rank ends it.
  void run();

  int status() const { return status_; }  // of the process that was started, as waitpid gives it
  pid_t pid() const { return child_; }
  bool stopped() const { return stop_sent_; }            // somebody asked for the end
  bool stopped_early() const { return stopped_early_; }  // before the ranks could heed that: they were ended
  const RankWatch& watch() const { return watch_; }
  const RankWords& words() const { return words_; }
  // The rank that hangs, and how it stood then.
  std::optional<int64_t> hung() const { return hung_; }
  const RankWatch::Rank& hung_rank() const { return hung_rank_; }

 private:
  void start(std::vector<std::string> words);
  bool pass_on(int timeout_ms);
  void pass_on(int& fd, bool is_error);
  void look();
  void heed_signals();
  bool ended();
  void end_all();

  std::string launch_;
  RankWatch watch_;
  RankWords words_;
  pid_t child_ = -1;
  int out_ = -1;
  int err_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  bool stop_sent_ = false;
  bool stopped_early_ = false;
  std::optional<int64_t> hung_;
  RankWatch::Rank hung_rank_;
  double looked_s_ = 0;
  double dead_since_s_ = 0;  // 0: nobody is
};

}  // namespace centavo
