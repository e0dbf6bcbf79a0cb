#include "train/fit.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "passes/place.h"
#include "passes/recompute_report.h"
#include "train/loss_chunk.h"
#include "train/units.h"

namespace centavo {
namespace {

using Mode = RecomputeChoice::Mode;

// The last steps of the ladder may cost memory at the peak; so many before the end are tried where the end does not
// fit.
constexpr size_t kTail = 8;

// What comes behind the ladder, in the order of its price.
enum class Rung : uint8_t { ladder, attention, full, activations, states };

struct Candidate {
  Techniques techniques;
  Rung rung = Rung::ladder;
  double us = 0;  // of a micro-batch: the ladder's replays, and its chunks of logits

  bool cheaper_than(const Candidate& other) const { return rung < other.rung || (rung == other.rung && us < other.us); }
};

class Search {
 public:
  Search(const OpTable& ops, const RunConfig& config, const Worker& worker, int64_t budget)
      : ops_(ops), config_(config), worker_(worker), budget_(budget), asked_(techniques_of(config)) {
    asked_.recompute.rates = machine_rates(worker, config.precision);
    const Program plain = training_program(ops, config, worker, Techniques{}, "fuse_swiglu");
    us_of_steps_ = {0};
    for (const RecomputeStep& step : recompute_ladder(plain, ops, asked_.recompute.rates)) {
      us_of_steps_.push_back(us_of_steps_.back() + step.us);
    }
  }

  Techniques run() {
    for (const LossChunk& chunk : chunks()) {
      if (best_ && best_->rung == Rung::ladder && chunk.us >= best_->us) break;
      asked_.loss_chunk = chunk.tokens;
      if (auto found = with(chunk); found && (!best_ || found->cheaper_than(*best_))) best_ = std::move(found);
    }
    return best_ ? best_->techniques : refuse();
  }

 private:
  std::vector<LossChunk> chunks() const {
    if (config_.loss_chunk > 0) return {{config_.loss_chunk, 0}};
    return loss_chunks(config_, worker_);
  }

  // What fits with these chunks; nothing too where all that fits costs more than the best known.
  std::optional<Candidate> with(const LossChunk& chunk) {
    if (fits(asked_)) return Candidate{asked_, Rung::ladder, chunk.us};
    const bool may_replay = asked_.recompute.mode == Mode::none;
    if (may_replay) {
      const size_t most = best_ && best_->rung == Rung::ladder ? steps_within(best_->us - chunk.us) : steps();
      if (const auto n = fewest_steps(most)) return Candidate{first(*n), Rung::ladder, chunk.us + us_of_steps_[*n]};
    }
    if (best_ && best_->rung == Rung::ladder) return std::nullopt;
    Techniques most = asked_;
    for (const auto& [mode, rung] : {std::pair(Mode::attention, Rung::attention), std::pair(Mode::full, Rung::full)}) {
      if (may_replay || mode <= asked_.recompute.mode) continue;
      most.recompute.mode = mode;
      if (fits(most)) return Candidate{most, rung, chunk.us};
    }
    if (may_replay) most.recompute = first(steps()).recompute;
    for (const auto& [what, rung] :
         {std::pair(Offloaded::activations, Rung::activations), std::pair(Offloaded::states, Rung::states)}) {
      most.offload.what.insert(what);
      if (fits(most)) return Candidate{most, rung, chunk.us};
    }
    return std::nullopt;
  }

  size_t steps() const { return us_of_steps_.size() - 1; }

  // The most steps that take less time.
  size_t steps_within(double us) const {
    const auto first_beyond = std::ranges::lower_bound(us_of_steps_, us);
    return first_beyond == us_of_steps_.begin() ? 0 : static_cast<size_t>(first_beyond - us_of_steps_.begin() - 1);
  }

  Techniques first(size_t count) const {
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

  // Of the first `most` steps, by bisection: more steps need less memory, but for the last few.
  std::optional<size_t> fewest_steps(size_t most) {
    size_t enough = most;
    const size_t tried = most == steps() ? kTail : 1;
    while (enough > 0 && enough + tried > most && !fits(first(enough))) --enough;
    if (enough == 0 || enough + tried <= most) return std::nullopt;
    size_t too_few = 0;
    while (enough - too_few > 1) {
      const size_t middle = too_few + (enough - too_few) / 2;
      (fits(first(middle)) ? enough : too_few) = middle;
    }
    return enough;
  }

  [[noreturn]] Techniques refuse() {
    throw OutOfMemory(fmt::format(
        "memory = {} is not enough: with everything recomputed and offloaded the plan needs {}; use a smaller "
        "micro_batch, seq_len or loss_chunk, or more ranks that cut what they keep (shard)\nby region:{}",
        config_.memory, bytes_text(smallest_->arena_bytes.at(Home::device)), region_table(*smallest_)));
  }

  const OpTable& ops_;
  const RunConfig& config_;
  const Worker& worker_;
  int64_t budget_;
  Techniques asked_;                 // with the chunk that is tried
  std::vector<double> us_of_steps_;  // of the first n steps of the ladder
  std::optional<Candidate> best_;
  std::optional<Program> smallest_;
};

}  // namespace

Techniques fit(const OpTable& ops, const RunConfig& config, const Worker& worker) {
  if (config.memory.empty()) {
    Techniques asked = techniques_of(config);
    asked.recompute.rates = machine_rates(worker, config.precision);
    asked.loss_chunk = loss_chunk_of(config, worker.device);
    return asked;
  }
  return Search(ops, config, worker, parse_bytes(config.memory).value()).run();
}

std::string techniques_table(const OpTable& ops, const RunConfig& config, const Worker& worker,
                             const Techniques& techniques) {
  std::string table;
  if (!config.memory.empty()) {
    const LossChunk chunk = priced_loss_chunk(config, worker, techniques.loss_chunk);
    table += fmt::format("\n  logits of {} of {} tokens at a time cost {:.1f} us", chunk.tokens,
                         config.micro_batch * config.seq_len, chunk.us);
  }
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
