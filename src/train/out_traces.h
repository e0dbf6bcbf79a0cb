// Takes back what a run that never began has left in OUT: a refused run leaves nothing behind.
//
// A run has begun once it has written OUT/config.toml; from then on all of OUT is its record. Before that its ranks
// have made their status pages (train/rank_status.h) and the directories above them. Prepared data stays: it may have
// taken long, and the next run of the same text takes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace centavo {

class OutTraces {
 public:
  // Looks at what is there; to be made before any rank has its page.
  explicit OutTraces(std::string out);

  // Removes the pages of `ranks`, then OUT/ranks, OUT and the directories above it that are empty; none that was there
  // before, and nothing when the run has begun. For ranks that have ended, or are about to be ended, and held their
  // pages. What cannot be removed stays: the run has failed already, and that is what its user must hear of.
  void take_back(std::span<const int64_t> ranks) const;

 private:
  bool has_begun() const;

  std::string out_;
  std::vector<std::filesystem::path> missing_;  // directories, the deepest first
  std::set<std::string> pages_;
  std::optional<std::filesystem::file_time_type> config_written_;
};

}  // namespace centavo
