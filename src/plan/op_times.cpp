#include "plan/op_times.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <unordered_map>

#include "machine/virtual/virtual_machine.h"
#include "plan/random_run.h"

namespace centavo {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

double seconds_since(Clock::time_point start) { return seconds_between(start, Clock::now()); }

constexpr size_t kFewestClean = 3;
constexpr double kSecondsAhead = 0.1;
constexpr int64_t kMostAhead = 30;

// The very fastest calls had luck.
double lower_quartile(std::vector<double> values) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 4);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double middle_mean(std::vector<double> values) {
  std::ranges::sort(values);
  const auto cut = static_cast<std::ptrdiff_t>(values.size() / 4);
  const auto begin = values.begin() + cut;
  const auto end = values.end() - cut;
  return std::accumulate(begin, end, 0.0) / static_cast<double>(end - begin);
}

// How often a thread of this process had to make room for another.
int64_t involuntary_switches() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

// The ops of a machine's program, each with its case and its times.
class Stopwatch {
 public:
  Stopwatch(const OpTable& ops, Machine& machine, DeviceKind device) : machine_(machine), device_(device) {
    const Program& program = machine.program();
    for (const Section& section : program.sections) {
      for (const Op& op : section.ops) {
        rows_.emplace(&op, Row{case_of(ops, program, op), {}});
      }
    }
  }

  void step() { device_ == DeviceKind::cuda ? step_on_gpu() : step_on_cpu(); }

  void add_to(OpTimes& times) const {
    for (const auto& [op, row] : rows_) {
      for (const TimedCall& call : row.calls) times.add(row.op_case, call.seconds, call.timing);
    }
  }

 private:
  struct TimedCall {
    double seconds = 0;
    Timing timing = Timing::clean;
  };
  struct Row {
    OpCase op_case;
    std::vector<TimedCall> calls;
  };

  // The steps before the timed one keep the GPU at work while that is prepared, which takes some milliseconds: nothing
  // beside a long step.
  void step_on_gpu() {
    for (int64_t i = 0; i < steps_ahead_; ++i) machine_.step();
    const std::vector<Span> spans = machine_.timed_step();
    for (const Span& span : spans) rows_.at(span.op).calls.push_back({span.seconds(), Timing::clean});
    steps_ahead_ = std::clamp<int64_t>(static_cast<int64_t>(kSecondsAhead / end_of(spans)), 0, kMostAhead);
  }

  void step_on_cpu() {
    Timing before = Timing::disturbed;
    int64_t switches = involuntary_switches();
    Clock::time_point last = Clock::now();
    machine_.step([&](int64_t, const Section&, const Op& op) {
      const Clock::time_point now = Clock::now();
      const int64_t count = involuntary_switches();
      const Timing during = count == switches ? Timing::clean : Timing::disturbed;
      const bool clean = during == Timing::clean && before == Timing::clean;
      rows_.at(&op).calls.push_back({seconds_between(last, now), clean ? Timing::clean : Timing::disturbed});
      before = during;
      switches = count;
      last = Clock::now();
    });
  }

  Machine& machine_;
  DeviceKind device_;
  int64_t steps_ahead_ = 1;  // of a GPU
  std::unordered_map<const Op*, Row> rows_;
};

}  // namespace

Typical typical_on(DeviceKind device) {
  return device == DeviceKind::cuda ? Typical::middle_mean : Typical::lower_quartile;
}

void OpTimes::add(const OpCase& op, double seconds, Timing timing) {
  Timed& timed = timed_[{op.signature, op.extents}];
  timed.cost = op.cost;
  (timing == Timing::clean ? timed.clean : timed.disturbed).push_back(seconds);
}

double OpTimes::disturbed_share() const {
  double disturbed = 0;
  double all = 0;
  for (const auto& [key, timed] : timed_) {
    disturbed += static_cast<double>(timed.disturbed.size());
    all += static_cast<double>(timed.clean.size() + timed.disturbed.size());
  }
  return all > 0 ? disturbed / all : 0;
}

std::vector<OpSample> OpTimes::samples() const {
  std::vector<OpSample> all;
  for (const auto& [key, timed] : timed_) {
    std::vector<double> calls = timed.clean;
    if (calls.size() < kFewestClean) calls.insert(calls.end(), timed.disturbed.begin(), timed.disturbed.end());
    const double seconds =
        typical_ == Typical::middle_mean ? middle_mean(std::move(calls)) : lower_quartile(std::move(calls));
    all.push_back({.signature = key.first,
                   .extents = key.second,
                   .flops = timed.cost.flops,
                   .bytes = timed.cost.bytes,
                   .seconds = std::max(seconds, 1e-9)});
  }
  return all;
}

int64_t memory_needed(const Program& program, DeviceKind device) {
  int64_t needed = 0;
  for (const auto& [home, bytes] : program.arena_bytes) {
    if (device == DeviceKind::cpu || home == Home::device) needed += bytes;
  }
  return needed;
}

Program probe_program(const OpTable& ops, const RunConfig& config, const Worker& worker, int64_t memory_bytes) {
  Program program = training_program(ops, config, worker);
  const int64_t needed = memory_needed(program, worker.device);
  if (needed > memory_bytes) {
    throw OutOfMemory(fmt::format("timing this model's ops needs {} bytes and there are {}; use a smaller micro_batch",
                                  needed, memory_bytes));
  }
  return program;
}

void time_ops(const OpTable& ops, Program program, const RunConfig& config, const Worker& worker,
              const TimingEffort& effort, OpTimes& times) {
  const std::unique_ptr<Machine> machine = make_machine(std::move(program), ops, worker.machine_options());
  begin_random_run(*machine, config);
  feed_random_tokens(*machine, config, 1);
  machine->step();
  const Clock::time_point start = Clock::now();
  Stopwatch warm_up(ops, *machine, worker.device);
  while (seconds_since(start) < effort.warm_up_seconds) warm_up.step();
  Stopwatch watch(ops, *machine, worker.device);
  const Clock::time_point warm = Clock::now();
  for (int64_t i = 0; i < effort.most_steps; ++i) {
    if (i >= effort.least_steps && seconds_since(warm) > effort.seconds) break;
    watch.step();
  }
  watch.add_to(times);
}

}  // namespace centavo
