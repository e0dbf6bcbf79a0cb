#include "train/fit.h"

#include <algorithm>

#include "passes/place.h"
#include "passes/recompute_report.h"
#include "train/units.h"

namespace centavo {
namespace {

using Mode = RecomputeChoice::Mode;

// The last steps of the ladder may cost memory at the peak; so many before the end are tried where the end does not
// fit.
constexpr size_t kTail = 8;

class Search {
 public:
  Search(const OpTable& ops, const RunConfig& config, const Worker& worker, int64_t budget)
      : ops_(ops), config_(config), worker_(worker), budget_(budget), asked_(techniques_of(config)) {
    const Program plain = training_program(ops, config, worker, Techniques{}, "fuse_swiglu");
    steps_ = recompute_ladder(plain, ops).size();
  }

  Techniques run() {
    if (fits(asked_)) return asked_;
    if (asked_.recompute.mode == Mode::none) {
      if (const auto found = fewest_steps()) return *found;
    }
    Techniques most = asked_;
    for (const Mode mode : {Mode::attention, Mode::full}) {
      if (asked_.recompute.mode == Mode::none || mode <= asked_.recompute.mode) continue;
      most.recompute.mode = mode;
      if (fits(most)) return most;
    }
    if (most.recompute.mode == Mode::none) most.recompute = steps(steps_).recompute;
    for (const Offloaded what : {Offloaded::activations, Offloaded::states}) {
      most.offload.what.insert(what);
      if (fits(most)) return most;
    }
    refuse();
  }

 private:
  Techniques steps(size_t count) const {
    Techniques t = asked_;
    t.recompute.mode = Mode::steps;
    t.recompute.steps = count;
    return t;
  }

  bool fits(const Techniques& techniques) {
    Program program = training_program(ops_, config_, worker_, techniques);
    const bool fit = program.arena_bytes.at(Home::device) <= budget_;
    if (!smallest_ || program.arena_bytes.at(Home::device) < smallest_->arena_bytes.at(Home::device)) {
      smallest_ = std::move(program);
    }
    return fit;
  }

  // By bisection: more steps need less memory, but for the last few.
  std::optional<Techniques> fewest_steps() {
    size_t enough = steps_;
    while (enough > 0 && enough + kTail > steps_ && !fits(steps(enough))) --enough;
    if (enough == 0 || enough + kTail <= steps_) return std::nullopt;
    size_t too_few = 0;
    while (enough - too_few > 1) {
      const size_t middle = too_few + (enough - too_few) / 2;
      (fits(steps(middle)) ? enough : too_few) = middle;
    }
    return steps(enough);
  }

  [[noreturn]] void refuse() {
    throw OutOfMemory(fmt::format(
        "memory = {} is not enough: with everything recomputed and offloaded the plan needs {}; use a smaller "
        "micro_batch, seq_len or loss_chunk, or more ranks that cut what they keep (shard)\nby region:{}",
        config_.memory, bytes_text(smallest_->arena_bytes.at(Home::device)), region_table(*smallest_)));
  }

  const OpTable& ops_;
  const RunConfig& config_;
  const Worker& worker_;
  int64_t budget_;
  Techniques asked_;
  size_t steps_ = 0;
  std::optional<Program> smallest_;
};

}  // namespace

Techniques fit(const OpTable& ops, const RunConfig& config, const Worker& worker) {
  if (config.memory.empty()) return techniques_of(config);
  return Search(ops, config, worker, parse_bytes(config.memory).value()).run();
}

std::string techniques_table(const OpTable& ops, const RunConfig& config, const Worker& worker,
                             const Techniques& techniques) {
  std::string table;
  if (techniques.recompute.mode != Mode::none) {
    const Program plain = training_program(ops, config, worker, Techniques{}, "fuse_swiglu");
    table += recompute_table(recompute_report(plain, ops, techniques.recompute));
  }
  for (const Offloaded what : techniques.offload.what) {
    table += fmt::format("\n  {} wait on the host", what == Offloaded::states ? "optimizer states" : "activations");
  }
  return table;
}

}  // namespace centavo
