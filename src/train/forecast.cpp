#include "train/forecast.h"

#include <algorithm>
#include <map>

namespace centavo {
namespace {

// Steps in [from, end) after which something is due that happens every `every` steps.
int64_t due_times(int64_t from, int64_t end, int64_t every) {
  if (every == 0 || from >= end) return 0;
  return (end - 1) / every - (from + every - 1) / every + 1;
}

std::vector<KindForecast> kinds_of(const std::vector<Span>& spans, const std::vector<Span>& floors) {
  std::map<std::string, double> floor_seconds;
  for (const KindTime& kind : by_kind(floors)) floor_seconds[kind.kind] = kind.seconds;
  std::vector<KindForecast> kinds;
  for (const KindTime& kind : by_kind(spans)) {
    kinds.push_back({kind.kind, kind.calls, kind.seconds, floor_seconds[kind.kind]});
  }
  return kinds;
}

// A checkpoint holds every element once, however many ranks hold it.
int64_t checkpoint_bytes(const Program& program) {
  int64_t bytes = 0;
  for (const Buffer& b : program.buffers) {
    if (b.persistent && !b.view) bytes += b.bytes() * (b.shard ? b.shard->parts : 1);
  }
  return bytes;
}

// One batch of the validation.
double batch_seconds(const OpTable& ops, const RunConfig& c, const Worker& worker, const CostSource& costs) {
  const Program program = validation_program(ops, c, worker);
  return end_of(walk(program, costs.lanes(), costs.seconds));
}

// Those on the way and the one at the end, of which the split's size alone says how long it is.
Repeated validations_of(const OpTable& ops, const RunConfig& c, const Worker& worker, const CostSource& costs,
                        int64_t steps_done) {
  if (c.validation_every == 0) return {};
  const int64_t times = due_times(steps_done, c.max_steps, c.validation_every) + 1;
  const int64_t batches = (c.validation_windows + c.micro_batch - 1) / c.micro_batch;
  const int64_t ranks = worker.mesh.ranks();
  const int64_t rounds = times * ((batches + ranks - 1) / ranks);
  return {times, static_cast<double>(rounds) * batch_seconds(ops, c, worker, costs)};
}

Repeated checkpoints_of(const RunConfig& c, const Program& training, const CostSource& costs, int64_t steps_done) {
  const int64_t times = due_times(steps_done + 1, c.max_steps, c.checkpoint_every) + 1;
  const double rate = costs.disk_write_bytes_per_second;
  const auto bytes = static_cast<double>(times * checkpoint_bytes(training));
  return {times, rate > 0 ? bytes / rate : 0};
}

std::vector<std::string> not_counted(const RunConfig& c, int64_t ranks, const Forecast& f) {
  std::vector<std::string> words = {"the preparation of the data"};
  if (c.validation_every > 0) {
    words.push_back(fmt::format("what the last validation reads beyond {} windows", c.validation_windows));
  }
  if (f.checkpoints.seconds == 0) words.emplace_back("the writing of checkpoints");
  if (c.sample_tokens > 0) words.emplace_back("samples");
  if (ranks > 1) words.emplace_back("the waiting of ranks for messages");
  words.emplace_back("the export of the model");
  return words;
}

}  // namespace

std::optional<double> Forecast::dollars() const {
  if (!price_per_hour) return std::nullopt;
  return *price_per_hour * run_seconds() / 3600;
}

Forecast forecast(const OpTable& ops, const RunConfig& c, const Worker& worker, const Program& training,
                  const CostSource& costs, int64_t steps_done) {
  Forecast f;
  f.program = training;
  f.spans = walk(f.program, costs.lanes(), costs.seconds);
  const std::vector<Span> floors = walk(f.program, costs.lanes(), costs.floor_seconds);
  f.step_seconds = end_of(f.spans);
  f.floor_seconds = end_of(floors);
  f.kinds = kinds_of(f.spans, floors);
  f.busy = busy_by_lane(f.spans);
  f.step_tokens = c.micro_batch * c.grad_accum_steps * c.seq_len;
  f.threads = worker.threads;
  const int64_t left = std::max<int64_t>(0, c.max_steps - steps_done);
  f.steps = {left, static_cast<double>(left) * f.step_seconds};
  f.validations = validations_of(ops, c, worker, costs, steps_done);
  f.checkpoints = checkpoints_of(c, training, costs, steps_done);
  if (c.price_per_hour != kNoPrice) f.price_per_hour = c.price_per_hour;
  f.not_counted = not_counted(c, worker.mesh.ranks(), f);
  return f;
}

}  // namespace centavo
