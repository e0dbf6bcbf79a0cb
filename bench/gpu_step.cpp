// Training steps on one GPU, sustained; the cases that docs/benchmarks.md compares.
//
//   bench_gpu_step CASE SECONDS [key=value...]           a table by kind of op; a last line of JSON
//   bench_gpu_step CASE profile FILE [key=value...]      its ops into a profile, as `centavo bench --run`
//   bench_gpu_step CASE predict FILE [key=value...]      its step and memory from that profile; a last line of JSON.
//                                                        No GPU need be there
//   bench_gpu_step CASE floor [key=value...]             what its step cannot beat on this GPU (bench/gpu_floor.h); a
//                                                        last line of JSON
//   bench_gpu_step CASE plan GPU [key=value...]          what memory= chooses on a GPU of that name, and its price. No
//                                                        GPU need be there either
//
// Random parameters, fresh random tokens in every step, all parameters updated, the gradient clipped at 1.0. Steps run
// one behind the other for SECONDS; while one runs, the tokens of the next are written. The table launches three more
// steps with an event behind each op (Machine::timed_step).
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "gpu_floor.h"
#include "machine/cuda/cuda_machine.h"
#include "machine/cuda/gpu_rates.h"
#include "machine/make_machine.h"
#include "machine/virtual/virtual_machine.h"
#include "ops/all.h"
#include "plan/calibrate.h"
#include "plan/random_run.h"
#include "step_cases.h"
#include "train/fit.h"
#include "train/forecast.h"
#include "train/forecast_text.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmUp = 3;
constexpr int kObserved = 3;
constexpr double kGiB = 1 << 30;

double tokens_of_step(const RunConfig& config) {
  return static_cast<double>(config.micro_batch * config.grad_accum_steps * config.seq_len);
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct ByKind {
  double seconds = 0, flops = 0, bytes = 0;
  int64_t calls = 0;
};

void add(ByKind& row, const OpTable& ops, const Program& program, const Op& op, double seconds) {
  const OpView view(program, op);
  const OpDef& def = ops.at(op.kind);
  const Cost cost = def.cost == nullptr ? Cost{0, operand_bytes(view)} : def.cost(view);
  row.seconds += seconds;
  row.flops += cost.flops;
  row.bytes += cost.bytes;
  ++row.calls;
}

void print_table(CudaMachine& machine, const OpTable& ops) {
  std::map<std::string, ByKind> table;
  for (int i = 0; i < kObserved; ++i) {
    for (const Span& span : machine.timed_step()) {
      add(table[span.op->kind], ops, machine.program(), *span.op, span.seconds());
    }
  }
  fmt::print("{:<20}{:>7}{:>11}{:>11}{:>10}\n", "op", "calls", "ms", "TFLOP/s", "GB/s");
  double sum = 0;
  for (const auto& [kind, row] : table) {
    sum += row.seconds / kObserved;
    fmt::print("{:<20}{:>7}{:>11.3f}{:>11.1f}{:>10.0f}\n", kind, row.calls / kObserved, 1e3 * row.seconds / kObserved,
               row.flops / row.seconds / 1e12, row.bytes / row.seconds / 1e9);
  }
  fmt::print("{:<20}{:>7}{:>11.3f}\n", "sum", "", 1e3 * sum);
}

float loss_of(const CudaMachine& machine, int64_t step) {
  const Buffer& b = machine.program().buffer(machine.program().find("metrics"));
  float metrics[4];
  machine.read("metrics", std::as_writable_bytes(std::span(metrics)), step % (b.ring ? b.ring->slots : 1));
  return metrics[0];
}

void run(const std::string& name, double wanted, const std::vector<std::string>& overrides) {
  const auto start = Clock::now();
  const OpTable ops = all_ops();
  const RunConfig config = step_case(name, overrides);
  const int64_t free_before = open_gpu(0).free_bytes;
  Worker worker(1);
  worker.use(config.device, config.deterministic);
  CudaMachine machine(training_program(ops, config, worker), ops, {.deterministic = config.deterministic});
  const double prepared = seconds_since(start);
  begin_random_run(machine, config);
  feed_random_tokens(machine, config, 0);
  std::vector<double> seconds;
  double first = 0;
  int64_t steps = 0;
  double spent = 0;
  for (; spent < wanted || steps < kWarmUp + 3; ++steps) {
    const auto begin = Clock::now();
    machine.step();
    feed_random_tokens(machine, config, static_cast<uint64_t>(steps + 1));
    machine.wait();
    if (steps == 0) first = seconds_since(start);
    if (steps < kWarmUp) continue;
    seconds.push_back(seconds_since(begin));
    spent += seconds.back();
  }
  const float loss = loss_of(machine, steps - 1);
  if (const std::string choice = attention_choice(machine); !choice.empty()) fmt::print("attention: {}\n", choice);
  if (const std::string choice = fused_choice(machine); !choice.empty()) fmt::print("products: {}\n", choice);
  print_table(machine, ops);
  std::ranges::nth_element(seconds, seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
  const double median = seconds[seconds.size() / 2];
  const nlohmann::ordered_json line = {
      {"tool", "centavo"},
      {"case", name},
      {"gpu", machine.gpu().name},
      {"step_ms", 1e3 * median},
      {"tokens_per_s", tokens_of_step(config) * static_cast<double>(seconds.size()) / spent},
      {"steps", seconds.size()},
      {"prepare_s", prepared},
      {"first_step_s", first},
      {"arena_gib", static_cast<double>(machine.program().arena_bytes.at(Home::device)) / kGiB},
      {"used_gib", static_cast<double>(free_before - open_gpu(0).free_bytes) / kGiB},
      {"loss", loss}};
  fmt::print("{}\n", json_text(line));
}

void measure_ops(const std::string& name, const std::string& file, const std::vector<std::string>& overrides) {
  const OpTable ops = all_ops();
  const RunConfig config = step_case(name, overrides);
  Calibration calibration;
  calibration.worker.use("cuda", config.deterministic);
  calibration.disk_directory = parent_directory(file);
  calibration.memory_bytes = available_bytes(DeviceKind::cuda) / 20 * 19;
  Profile profile = std::filesystem::exists(file) ? read_profile(file) : measure_ceilings(ops, calibration);
  calibrate_run(ops, config, calibration, profile);
  write_profile(profile, file);
}

void predict(const std::string& name, const std::string& file, const std::vector<std::string>& overrides) {
  const OpTable ops = all_ops();
  const RunConfig config = step_case(name, overrides);
  OpCosts costs(read_profile(file));
  Worker worker(1);
  worker.use("cuda", config.deterministic);
  worker.gpu.architecture = costs.profile().architecture;
  worker.gpu.multiprocessors = costs.profile().multiprocessors;
  worker.gpu_name = costs.profile().machine;
  const Program training = training_program(ops, config, worker);
  const CostSource source = cost_source(ops, costs, CostSource::Kind::measured);
  const Forecast f = forecast(ops, config, worker, training, source);
  for (const std::string& line : forecast_lines(f, source)) fmt::print("{}\n", line);
  const nlohmann::ordered_json line = {
      {"tool", "centavo"},
      {"case", name},
      {"gpu", source.machine},
      {"predicted_step_ms", 1e3 * f.step_seconds},
      {"floor_ms", 1e3 * f.floor_seconds},
      {"predicted_gib", static_cast<double>(training.arena_bytes.at(Home::device)) / kGiB}};
  fmt::print("{}\n", json_text(line));
}

void print_floor(const std::string& name, const std::vector<std::string>& overrides) {
  const OpTable ops = all_ops();
  const RunConfig config = step_case(name, overrides);
  Worker worker(1);
  worker.use(config.device, config.deterministic);
  const double copy = measured_gpu_rates().copy_bytes_per_second;
  double sum = 0;
  for (const auto& [kind, seconds] : step_floor(ops, training_program(ops, config, worker), worker, copy)) {
    fmt::print("{:<20}{:>11.3f} ms\n", kind, 1e3 * seconds);
    sum += seconds;
  }
  const nlohmann::ordered_json line = {{"tool", "centavo"},
                                       {"case", name},
                                       {"copy_tb_per_s", copy / 1e12},
                                       {"floor_ms", 1e3 * sum},
                                       {"floor_tokens_per_s", tokens_of_step(config) / sum}};
  fmt::print("{}\n", json_text(line));
}

void plan(const std::string& name, const std::string& gpu, const std::vector<std::string>& overrides) {
  const OpTable ops = all_ops();
  const RunConfig config = step_case(name, overrides);
  Worker worker(1);
  worker.use("cuda");
  worker.gpu_name = gpu;
  const auto start = Clock::now();
  const Techniques techniques = fit(ops, config, worker);
  const double chosen = seconds_since(start);
  const Program training = training_program(ops, config, worker, techniques);
  fmt::print("{:.2f} GiB, chosen in {:.1f} s{}\n", static_cast<double>(training.arena_bytes.at(Home::device)) / kGiB,
             chosen, techniques_table(ops, config, worker, techniques));
}

void run_mode(const std::string& name, const std::string& mode, std::vector<std::string> rest) {
  if (mode == "floor") return print_floor(name, rest);
  if (mode != "predict" && mode != "profile" && mode != "plan") return run(name, std::atof(mode.c_str()), rest);
  if (rest.empty()) user_error("{} {} needs {}", name, mode, mode == "plan" ? "the name of a GPU" : "a profile's file");
  const std::string of = rest[0];
  rest.erase(rest.begin());
  if (mode == "plan") return plan(name, of, rest);
  mode == "predict" ? predict(name, of, rest) : measure_ops(name, of, rest);
}

}  // namespace
}  // namespace centavo

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(
        stderr,
        "usage: bench_gpu_step CASE SECONDS|profile FILE|predict FILE|floor|plan GPU [key=value...]; cases: {}\n",
        fmt::join(centavo::step_case_names(), " "));
    return 2;
  }
  try {
    centavo::run_mode(argv[1], argv[2], {argv + 3, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_gpu_step: {}\n", error.what());
    return 1;
  }
}
