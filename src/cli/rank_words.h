// What comes out of mpirun's standard error: the ranks' own words, and mpirun's. The ranks' are passed on; mpirun's are
// read and dropped.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace centavo {

// "mpirun noticed that process rank 1 with PID 0 on node h exited on signal 9 (Killed)."
struct DeathNotice {
  int64_t rank = 0;
  int signal = 0;
};

class RankWords {
 public:
  // Takes a piece as it comes; returns the whole lines to print. Dropped are mpirun's banners (between two lines of
  // dashes), its remarks on them, and a line "centavo: …" that another rank has said before
  // (after "rank 1 on host h: " too).
  std::string take(std::string_view piece);
  // What is left when nothing more comes.
  std::string rest();

  const std::optional<DeathNotice>& notice() const { return notice_; }
  // Has a rank said why it ends?
  bool said() const { return !said_.empty(); }
  // The first banner as one line, else mpirun's first remark; empty when there was none.
  const std::string& banner() const { return banner_.empty() ? first_remark_ : banner_; }

 private:
  std::string line(const std::string& line);
  std::string banner_line(const std::string& line);

  std::string unended_;
  bool in_banner_ = false;
  int banner_lines_ = 0;
  std::string held_;  // the banner that is being read
  std::string banner_;
  std::string first_remark_;
  std::optional<DeathNotice> notice_;
  std::set<std::string> said_;
};

}  // namespace centavo
