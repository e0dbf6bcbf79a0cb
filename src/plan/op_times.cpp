#include "plan/op_times.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "machine/cpu/cpu_machine.h"
#include "plan/random_run.h"
#include "train/step_program.h"

namespace centavo {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// What else runs on a machine only adds time, so the faster calls say what the op takes; the very fastest had luck.
constexpr double kQuantile = 0.25;
constexpr size_t kFewestClean = 3;

double typical(std::vector<double> values) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(kQuantile * static_cast<double>(values.size()));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

Program probe_program(const OpTable& ops, const RunConfig& config, int threads, int64_t memory_bytes) {
  Program program = training_program(ops, config, Worker(threads));
  int64_t needed = 0;
  for (const auto& [home, bytes] : program.arena_bytes) needed += bytes;
  if (needed > memory_bytes) {
    throw OutOfMemory(fmt::format("timing this model's ops needs {} bytes and there are {}; use a smaller micro_batch",
                                  needed, memory_bytes));
  }
  return program;
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
  Stopwatch(const OpTable& ops, Machine& machine) : machine_(machine) {
    const Program& program = machine.program();
    for (const Section& section : program.sections) {
      for (const Op& op : section.ops) {
        rows_.emplace(&op, Row{case_of(ops, program, op), {}});
      }
    }
  }

  void step() {
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
  Machine& machine_;
  std::unordered_map<const Op*, Row> rows_;
};

}  // namespace

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
    all.push_back({.signature = key.first,
                   .extents = key.second,
                   .flops = timed.cost.flops,
                   .bytes = timed.cost.bytes,
                   .seconds = std::max(typical(std::move(calls)), 1e-9)});
  }
  return all;
}

void time_ops(const OpTable& ops, const RunConfig& config, int threads, int64_t memory_bytes,
              const TimingEffort& effort, OpTimes& times) {
  CpuMachine machine(probe_program(ops, config, threads, memory_bytes), ops, {.threads = threads});
  begin_random_run(machine, config);
  feed_random_tokens(machine, config, 1);
  machine.step();
  Stopwatch watch(ops, machine);
  const Clock::time_point start = Clock::now();
  for (int64_t i = 0; i < effort.most_steps; ++i) {
    if (i >= effort.least_steps && seconds_between(start, Clock::now()) > effort.seconds) break;
    watch.step();
  }
  watch.add_to(times);
}

}  // namespace centavo
