// A small run of the command on several ranks of this computer, what it leaves behind, and blows against its ranks.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tests/support/process.h"
#include "train/rank_status.h"

namespace centavo::testing {

// Is there an mpirun to start ranks with? Prepares the environment of those that it starts.
bool can_start_ranks();

// A run of bytes through a micro model with four micro-batches a step, whose sums do not depend on the number of ranks
// where that is a power of two. A step's learning rate does not depend on max_steps, so that runs of other lengths pass
// through the same bits. The file lies in `directory`, which exists.
std::string world_run_file(const std::string& directory);

// The newest checkpoint, tensor by tensor, whoever wrote which part. Empty without one; throws when one is damaged.
struct SavedState {
  int64_t step = -1;
  std::map<std::string, std::vector<std::byte>> tensors;
  bool operator==(const SavedState&) const = default;
};
SavedState saved_state(const std::string& out);

// The losses of steps 1, 2, … as metrics.jsonl tells them. Throws when a step is missing or stands twice.
std::vector<double> losses_by_step(const std::string& out);

// What was measured, without clocks: steps with losses and rates, validations.
std::vector<std::string> world_measurements(const std::string& out);

// The processes that are or were ranks of the run in `out`.
class RanksOf {
 public:
  RanksOf(std::string out, int64_t ranks) : out_(std::move(out)), ranks_(ranks) {}
  ~RanksOf();  // removes what killed ranks have left in /dev/shm

  RankReport report(int64_t rank) const;
  // Waits until `done` is true of the pages of all ranks, then remembers the processes. False when the parent ended.
  bool await(Process& parent, const std::function<bool(const RankReport&)>& done);
  // Is one of the remembered processes still there?
  bool somebody_left() const;

 private:
  std::string out_;
  int64_t ranks_;
  std::vector<RankReport> pages_;
  std::vector<std::string> segments_;  // how the names of these jobs' shared memory begin
};

}  // namespace centavo::testing
