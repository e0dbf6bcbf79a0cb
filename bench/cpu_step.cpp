// One training step on the CPU, timed against its floor; bench/cpu_step.py runs it beside PyTorch.
//
//   bench_cpu_step SIZE PRECISION THREADS STEPS [key=value...]   SIZE: 1m 10m 30m 124m; a last line of JSON
//
// Random tokens, fresh every step; all parameters are updated, the gradient is clipped at 1.0. `step_ms` is the median
// of STEPS steps after three that warm up. The floor of a step is the sum over its ops of
//
//   products    flops / the best rate of oneDNN for that very shape and dtype, operands warm
//   attention   flops / the best rate of a square product
//   the rest    bytes / copy rate
//
// with rates measured in the same process before the steps.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/json.h"
#include "base/rng.h"
#include "machine/cpu/cpu_machine.h"
#include "ops/all.h"
#include "ops/linear/product.h"
#include "plan/ceilings.h"
#include "plan/random_run.h"
#include "train/run_config.h"
#include "train/step_program.h"
#include "train/throughput.h"

namespace centavo {
namespace {

constexpr int kWarmUp = 3;
constexpr double kRateSeconds = 0.15;

struct Size {
  int64_t hidden, layers, heads, intermediate, vocab, batch, tokens;
};

const std::map<std::string, Size> kSizes = {{"1m", {128, 4, 4, 344, 4096, 16, 256}},
                                            {"10m", {384, 6, 6, 1024, 4096, 8, 256}},
                                            {"30m", {512, 8, 8, 1376, 8192, 4, 512}},
                                            {"124m", {768, 12, 12, 2048, 50304, 2, 512}}};

double seconds_of(const std::function<void()>& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

RunConfig config_of(const Size& s, const std::string& precision, const std::vector<std::string>& overrides) {
  const std::string toml = fmt::format(
      "precision = \"{}\"\nseq_len = {}\nmicro_batch = {}\nmax_steps = 1000\nlearning_rate = 3e-4\n[model]\n"
      "vocab_size = {}\nhidden_size = {}\nintermediate_size = {}\nnum_hidden_layers = {}\nnum_attention_heads = {}\n"
      "tie_word_embeddings = true\nmax_position_embeddings = {}\n",
      precision, s.tokens, s.batch, s.vocab, s.hidden, s.intermediate, s.layers, s.heads, s.tokens);
  return parse_run_config_text(toml, "bench.toml", overrides);
}

// --- the floor

// Best seconds of a call within kRateSeconds.
double best_seconds(const std::function<void()>& f) {
  double best = seconds_of(f);
  for (double spent = best; spent < kRateSeconds;) {
    const double seconds = seconds_of(f);
    best = std::min(best, seconds);
    spent += seconds;
  }
  return best;
}

std::vector<std::byte> random_bytes(int64_t elements, DType dtype, uint64_t key) {
  std::vector<std::byte> bytes(static_cast<size_t>(elements * size_of(dtype)));
  const RandomStream random{key, stream_of("floor", 5)};
  for (int64_t i = 0; i < elements; ++i) {
    const float value = static_cast<float>(random.uniform(static_cast<uint64_t>(i % 65537))) - 0.5F;
    if (dtype == DType::bf16) {
      reinterpret_cast<bf16*>(bytes.data())[i] = bf16(value);
    } else {
      reinterpret_cast<float*>(bytes.data())[i] = value;
    }
  }
  return bytes;
}

// Products of one role over shapes, each timed once.
class Floor {
 public:
  Floor(double copy, double peak) : copy_(copy), peak_(peak) {}

  double seconds(const OpTable& ops, const Program& program, const Op& op) {
    const OpView v(program, op);
    const OpDef& def = ops.at(op.kind);
    const Cost cost = def.cost == nullptr ? Cost{0, operand_bytes(v)} : def.cost(v);
    if (op.kind == "linear") return product(v, v.in(0)[0], v.in(1)[0], v.in(0)[1], false, true);
    if (op.kind == "linear_swiglu") return linear_swiglu(v);
    if (op.kind == "linear_dx") return product(v, v.in(0)[0], v.in(1)[1], v.in(0)[1], false, false);
    if (op.kind == "linear_dx_swiglu_grad") return linear_dx_swiglu_grad(v);
    if (op.kind == "linear_dw") return product(v, v.in(0)[1], v.in(1)[1], v.in(0)[0], true, false);
    if (op.kind.starts_with("lm_head_loss")) return head(v);
    return std::max(cost.flops / peak_, cost.bytes / copy_);
  }

 private:
  double head(const OpView& v) {
    const int64_t n = v.in(0)[0], c = v.in(0)[1], vocab = v.in(1)[0];
    double sum = product(v, n, vocab, c, false, true);
    if (v.has_output(2)) sum += product(v, n, c, vocab, false, false);
    if (v.has_output(3)) sum += product(v, vocab, c, n, true, false);
    return sum;
  }

  // gate_up is written and read again, s is written.
  double linear_swiglu(const OpView& v) {
    const auto bytes = static_cast<double>(v.output(0).slot_bytes() + v.output(1).slot_bytes());
    return product(v, v.in(0)[0], v.in(1)[0], v.in(0)[1], false, true) + bytes / copy_;
  }

  // ds is written and read again, gate_up is read, dgate_up and s are written.
  double linear_dx_swiglu_grad(const OpView& v) {
    const auto wide = static_cast<double>(v.output(0).slot_bytes());
    const double s = v.has_output(1) ? wide / 2 : 0;
    return product(v, v.in(0)[0], v.in(1)[1], v.in(0)[1], false, false) + (2.5 * wide + s) / copy_;
  }

  double product(const OpView& v, int64_t m, int64_t n, int64_t k, bool ta, bool tb) {
    const DType dtype = v.input(0).dtype;
    const std::string key = fmt::format("{} {} {} {} {} {}", name_of(dtype), m, n, k, ta, tb);
    const auto [it, is_new] = known_.try_emplace(key, 0);
    if (is_new)
      it->second = timed({.m = m, .n = n, .k = k, .transpose_a = ta, .transpose_b = tb, .a = dtype, .b = dtype});
    return it->second;
  }

  static double timed(const ProductSpec& spec) {
    const Product product(spec);
    std::vector<std::byte> workspace(static_cast<size_t>(Product::workspace_bytes(spec) + kAlignment));
    void* start = workspace.data();
    size_t room = workspace.size();
    CHECK(std::align(kAlignment, 1, start, room) != nullptr);
    const auto a = random_bytes(spec.m * spec.k, spec.a, 1);
    const auto b = random_bytes(spec.k * spec.n, spec.b, 2);
    std::vector<float> c(static_cast<size_t>(spec.m * spec.n));
    return best_seconds([&] { product.run(a.data(), b.data(), c.data(), start); });
  }

  double copy_;
  double peak_;
  std::map<std::string, double> known_;
};

// --- the step

struct ByKind {
  double seconds = 0;
  double floor = 0;
  int64_t calls = 0;
};

class Step {
 public:
  Step(const OpTable& ops, const RunConfig& config, int threads)
      : ops_(ops),
        config_(config),
        machine_(training_program(ops, config, Worker(threads)), ops, {.threads = threads}) {
    begin_random_run(machine_, config_);
  }

  double run(int64_t step) {
    feed_random_tokens(machine_, config_, static_cast<uint64_t>(step));
    return seconds_of([&] { machine_.step(); });
  }

  float loss(int64_t step) const {
    float metrics[4];
    machine_.read("metrics", std::as_writable_bytes(std::span(metrics)), step % slots_of("metrics"));
    return metrics[0];
  }

  void run_by_op(int64_t step, std::map<std::string, ByKind>& table) {
    feed_random_tokens(machine_, config_, static_cast<uint64_t>(step));
    auto last = std::chrono::steady_clock::now();
    machine_.step([&](int64_t, const Section&, const Op& op) {
      const auto now = std::chrono::steady_clock::now();
      ByKind& row = table[op.kind];
      row.seconds += std::chrono::duration<double>(now - last).count();
      ++row.calls;
      last = std::chrono::steady_clock::now();
    });
  }

  const Program& program() const { return machine_.program(); }

 private:
  int64_t slots_of(const std::string& name) const {
    const Buffer& b = program().buffer(program().find(name));
    return b.ring ? b.ring->slots : 1;
  }

  const OpTable& ops_;
  RunConfig config_;
  CpuMachine machine_;
};

double floor_of(const OpTable& ops, const Program& program, Floor& floor, std::map<std::string, ByKind>& table) {
  double sum = 0;
  for (const Call& call : program.step) {
    for (const Op& op : program.find_section(call.section)->ops) {
      const double seconds = static_cast<double>(call.times) * floor.seconds(ops, program, op);
      table[op.kind].floor += seconds;
      sum += seconds;
    }
  }
  return sum;
}

void print_table(const std::map<std::string, ByKind>& table, int64_t steps) {
  fmt::print("{:<22}{:>8}{:>12}{:>12}{:>8}\n", "op", "calls", "ms", "floor ms", "share");
  for (const auto& [kind, row] : table) {
    const double ms = 1e3 * row.seconds / static_cast<double>(steps);
    fmt::print("{:<22}{:>8}{:>12.2f}{:>12.2f}{:>8.2f}\n", kind, row.calls / steps, ms, 1e3 * row.floor,
               1e3 * row.floor / ms);
  }
}

void run(const std::string& size, const std::string& precision, int threads, int64_t steps,
         const std::vector<std::string>& overrides) {
  const OpTable ops = all_ops();
  const RunConfig config = config_of(kSizes.at(size), precision, overrides);
  omp_set_num_threads(threads);
  const double copy = measured_copy_rate(threads);
  const double peak = measured_peak_flops(precision, threads);
  Floor floors(copy, peak);
  std::map<std::string, ByKind> table;
  Step step(ops, config, threads);
  const double floor = floor_of(ops, step.program(), floors, table);
  std::vector<double> seconds;
  for (int64_t i = 0; i < kWarmUp + steps; ++i) {
    const double s = step.run(i);
    if (i >= kWarmUp) seconds.push_back(s);
  }
  const float loss = step.loss(kWarmUp + steps - 1);
  for (int64_t i = 0; i < 3; ++i) step.run_by_op(kWarmUp + steps + i, table);
  print_table(table, 3);
  const double s = median(seconds);
  const double tokens = static_cast<double>(config.micro_batch * config.grad_accum_steps * config.seq_len);
  const nlohmann::ordered_json line = {
      {"tool", "centavo"},
      {"size", size},
      {"precision", precision},
      {"threads", threads},
      {"step_ms", 1e3 * s},
      {"best_ms", 1e3 * *std::ranges::min_element(seconds)},
      {"tokens_per_s", tokens / s},
      {"floor_ms", 1e3 * floor},
      {"share_of_floor", floor / s},
      {"copy_gb_per_s", copy / 1e9},
      {"peak_gflops", peak / 1e9},
      {"gib", static_cast<double>(step.program().arena_bytes.at(Home::device)) / (1 << 30)},
      {"loss", loss}};
  fmt::print("{}\n", json_text(line));
}

}  // namespace
}  // namespace centavo

int main(int argc, char** argv) {
  if (argc < 5 || !centavo::kSizes.contains(argv[1])) {
    fmt::print(stderr, "usage: bench_cpu_step 1m|10m|30m|124m PRECISION THREADS STEPS [key=value...]\n");
    return 2;
  }
  try {
    centavo::run(argv[1], argv[2], std::atoi(argv[3]), std::atoi(argv[4]), {argv + 5, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_cpu_step: {}\n", error.what());
    return 1;
  }
}
