// The memory-bound ops on one GPU, each alone at the shapes of the steps that bench_gpu_step runs.
//
//   bench_gpu_ops [WORD]     a line for each op whose name or shape contains WORD
//
// An op stands several times in a section, each time on buffers of its own, so that no cache holds what a call reads;
// the section is replayed as a graph. Printed: the median time of a call, the bytes of its cost rule, and its rate as a
// share of that of a large copy and of a copy of as many bytes, measured in the same way: a call of ten microseconds
// spends some of them on beginning and ending, whatever it does. Data are random numbers.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "machine/cuda/cuda_machine.h"
#include "ops/adamw/adamw.h"
#include "ops/all.h"
#include "ops/copy/copy.h"
#include "ops/embedding/embedding.h"
#include "ops/gelu/gelu.h"
#include "ops/layernorm/layernorm.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"
#include "ops/sqnorm/sqnorm.h"
#include "ops/swiglu/swiglu.h"
#include "passes/place.h"
#include "program/builder.h"
#include "program/verify.h"

namespace centavo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kBytesOfSection = 1e9;  // at least, and so beyond any cache
constexpr double kBytesOfSample = 8e9;
constexpr int kSamples = 7;
constexpr int64_t kPositions = 1024;

struct Model {
  const char* name;
  const char* precision;
  int64_t tokens, hidden, intermediate, heads, kv_heads, vocab;
  DType state;  // of gradients and moments; f32 goes with a master
  int64_t head_dim() const { return hidden / heads; }
  int64_t qkv_width() const { return (heads + 2 * kv_heads) * head_dim(); }
  // Of one layer.
  int64_t parameters() const {
    return hidden * (2 * hidden + 2 * kv_heads * head_dim() + 3 * intermediate) + 2 * hidden;
  }
};

const Model kModels[] = {{"7b", "bf16-stochastic", 16384, 3584, 18944, 28, 4, 152064, DType::bf16},
                         {"1b", "bf16", 32768, 2048, 8192, 32, 8, 128256, DType::f32},
                         {"160m", "bf16", 65536, 768, 3072, 12, 12, 32000, DType::f32},
                         {"gpt2", "bf16", 8192, 768, 3072, 12, 12, 50304, DType::f32}};

// Appends one call; its buffers carry the number of the call.
class Call {
 public:
  Call(Builder& b, int number) : b_(b), number_(number) {}

  Builder& builder() const { return b_; }
  std::string name(const std::string& name) const { return name + std::to_string(number_); }
  BufferId input(const std::string& of, DType dtype, Shape shape) const {
    return b_.program.add({.name = name(of),
                           .dtype = dtype,
                           .shape = std::move(shape),
                           .kind = BufferKind::parameter,
                           .persistent = true});
  }

 private:
  Builder& b_;
  int number_;
};

struct Case {
  std::string op;
  std::string shape;
  std::function<void(const Call&)> append;
};

Case adamw_case(const Model& m) {
  const bool stochastic = m.state == DType::bf16;
  const Shape shape = {m.parameters()};
  return {"adamw", fmt::format("{} {}", m.parameters(), m.precision), [=](const Call& call) {
            AdamWOperands o{.w = call.input("w", DType::bf16, shape),
                            .g = call.input("g", m.state, shape),
                            .m = call.input("m", m.state, shape),
                            .v = call.input("v", m.state, shape)};
            if (stochastic) {
              o.seed = call.input("seed", DType::i64, {1});
            } else {
              o.master = call.input("master", DType::f32, shape);
            }
            o.scale = call.input("scale", DType::f32, {1});
            o.finite = call.input("finite", DType::i32, {1});
            o.lr = call.input("lr", DType::f32, {1});
            o.step = call.input("step", DType::i64, {1});
            adamw(call.builder(), o, {.rounding = stochastic ? "stochastic" : "nearest"});
          }};
}

Case sqnorm_case(const Model& m) {
  return {"sqnorm", fmt::format("{} {}", m.parameters(), name_of(m.state)), [=](const Call& call) {
            sqnorm(call.builder(), call.input("g", m.state, {m.parameters()}), call.name("partials"));
          }};
}

std::vector<Case> swiglu_cases(const Model& m) {
  const std::string shape = fmt::format("[{}, {}]", m.tokens, m.intermediate);
  const auto gate_up = [=](const Call& call) {
    return call.input("gate_up", DType::bf16, {m.tokens, 2 * m.intermediate});
  };
  const auto grad = [=](const Call& call, const std::vector<Into>& outputs) {
    const BufferId ds = call.input("ds", DType::bf16, {m.tokens, m.intermediate});
    call.builder().call("swiglu_grad", {ds, gate_up(call)}, outputs);
  };
  return {{"swiglu", shape, [=](const Call& call) { swiglu(call.builder(), call.name("s"), gate_up(call)); }},
          {"swiglu_grad", shape, [=](const Call& call) { grad(call, {call.name("dgate_up")}); }},
          {"swiglu_grad_with_s", shape, [=](const Call& call) {
             grad(call, {call.name("dgate_up"), call.name("s")});
           }}};
}

std::vector<Case> rmsnorm_cases(const Model& m) {
  const std::string text = fmt::format("[{}, {}]", m.tokens, m.hidden);
  const auto rows = [=](const Call& call, const char* name) {
    return call.input(name, DType::bf16, {m.tokens, m.hidden});
  };
  const auto weight = [=](const Call& call) { return call.input("weight", DType::f32, {m.hidden}); };
  return {{"rmsnorm", text,
           [=](const Call& call) {
             const BufferId x = rows(call, "x"), delta = rows(call, "delta");
             rmsnorm(call.builder(), call.name("h"), x, delta, weight(call), 1e-5);
           }},
          {"rmsnorm_grad", text, [=](const Call& call) {
             const BufferId dh = rows(call, "dh"), dsum = rows(call, "dsum"), sum = rows(call, "sum");
             const BufferId rstd = call.input("rstd", DType::f32, {m.tokens});
             const BufferId dweight = call.input("dweight", m.state, {m.hidden});
             call.builder().call("rmsnorm_grad", {dh, dsum, sum, weight(call), rstd}, {call.name("dx"), dweight});
           }}};
}

std::vector<Case> gelu_cases(const Model& m) {
  const std::string shape = fmt::format("[{}, {}]", m.tokens, m.intermediate);
  const auto rows = [=](const Call& call, const char* name) {
    return call.input(name, DType::bf16, {m.tokens, m.intermediate});
  };
  return {{"gelu", shape, [=](const Call& call) { gelu(call.builder(), call.name("y"), rows(call, "x")); }},
          {"gelu_grad", shape, [=](const Call& call) {
             const BufferId dy = rows(call, "dy"), x = rows(call, "x");
             call.builder().call("gelu_grad", {dy, x}, {call.name("dx")});
           }}};
}

std::vector<Case> layernorm_cases(const Model& m) {
  const std::string text = fmt::format("[{}, {}]", m.tokens, m.hidden);
  const auto rows = [=](const Call& call, const char* name) {
    return call.input(name, DType::bf16, {m.tokens, m.hidden});
  };
  const auto vector = [=](const Call& call, const char* name, DType dtype = DType::f32) {
    return call.input(name, dtype, {m.hidden});
  };
  return {{"layernorm", text,
           [=](const Call& call) {
             const BufferId x = rows(call, "x"), delta = rows(call, "delta"), weight = vector(call, "weight");
             layernorm(call.builder(), call.name("h"), x, delta, weight, vector(call, "bias"), 1e-5);
           }},
          {"layernorm_grad", text, [=](const Call& call) {
             const BufferId dh = rows(call, "dh"), dsum = rows(call, "dsum"), sum = rows(call, "sum");
             const BufferId mean = call.input("mean", DType::f32, {m.tokens});
             const BufferId rstd = call.input("rstd", DType::f32, {m.tokens});
             const BufferId dweight = vector(call, "dweight", m.state), dbias = vector(call, "dbias", m.state);
             call.builder().call("layernorm_grad", {dh, dsum, sum, vector(call, "weight"), mean, rstd},
                                 {call.name("dx"), dweight, dbias});
           }}};
}

Case rope_case(const Model& m) {
  const int64_t width = m.qkv_width();
  return {"rope", fmt::format("[{}, {}]", m.tokens, width), [=](const Call& call) {
            const BufferId qkv = call.input("qkv", DType::bf16, {m.tokens, width});
            const BufferId table = call.input("table", DType::f32, {m.tokens, m.head_dim()});
            rope(call.builder(), call.name("y"), qkv, table, m.heads, m.kv_heads);
          }};
}

// Bias gradients of the second and later micro-batches.
std::vector<Case> linear_db_cases(const Model& m) {
  std::vector<Case> cases;
  for (const int64_t width : {m.hidden, m.qkv_width(), m.intermediate}) {
    cases.push_back({"linear_db", fmt::format("[{}, {}] added", m.tokens, width), [=](const Call& call) {
                       const BufferId dy = call.input("dy", DType::bf16, {m.tokens, width});
                       const BufferId dbias = call.input("dbias", m.state, {width});
                       call.builder().call("linear_db", {dy}, {Into(dbias, Bind::add)});
                     }});
  }
  return cases;
}

Case embedding_grad_case(const Model& m, Bind bind) {
  const char* how = bind == Bind::add ? " added" : "";
  return {"embedding_grad", fmt::format("[{}, {}] of {}{}", m.tokens, m.hidden, m.vocab, how), [=](const Call& call) {
            const BufferId tokens = call.input("tokens", DType::i32, {m.tokens});
            const BufferId dx = call.input("dx", DType::bf16, {m.tokens, m.hidden});
            const BufferId dweight = call.input("dweight", m.state, {m.vocab, m.hidden});
            call.builder().call("embedding_grad", {tokens, dx}, {Into(dweight, bind)}, {{"vocab_size", m.vocab}});
          }};
}

std::vector<Case> embedding_cases(const Model& m) {
  const std::string shape = fmt::format("[{}, {}] of {}", m.tokens, m.hidden, m.vocab);
  const auto tokens = [=](const Call& call) { return call.input("tokens", DType::i32, {m.tokens}); };
  return {{"embedding", shape,
           [=](const Call& call) {
             const BufferId weight = call.input("weight", DType::bf16, {m.vocab, m.hidden});
             embedding(call.builder(), call.name("x"), tokens(call), weight);
           }},
          {"embedding", shape + " + pos",
           [=](const Call& call) {
             const BufferId weight = call.input("weight", DType::bf16, {m.vocab, m.hidden});
             const BufferId positions = call.input("positions", DType::i32, {m.tokens});
             const BufferId table = call.input("position_weight", DType::bf16, {kPositions, m.hidden});
             embedding(call.builder(), call.name("x"), tokens(call), weight, {positions, table});
           }},
          embedding_grad_case(m, Bind::write),
          embedding_grad_case(m, Bind::add)};
}

constexpr double kBytesOfLargeCopy = 1 << 30;  // read and written

Case copy_case(double bytes) {
  const int64_t elements = static_cast<int64_t>(bytes) / (2 * size_of(DType::bf16));
  return {"copy", fmt::format("{:.0f} MB", bytes / 2e6),
          [=](const Call& call) { copy(call.builder(), call.input("x", DType::bf16, {elements}), call.name("y")); }};
}

std::vector<Case> cases_of(const Model& m) {
  std::vector<Case> cases = {adamw_case(m), sqnorm_case(m), rope_case(m)};
  for (const auto& more :
       {swiglu_cases(m), gelu_cases(m), rmsnorm_cases(m), layernorm_cases(m), linear_db_cases(m), embedding_cases(m)}) {
    cases.insert(cases.end(), more.begin(), more.end());
  }
  return cases;
}

Program program_of(const OpTable& ops, const Case& c, int calls) {
  Builder b(ops, "ops", DType::bf16);
  for (int i = 0; i < calls; ++i) c.append(Call(b, i));
  return std::move(b.program);
}

double bytes_of_call(const OpTable& ops, const Program& program) {
  const OpView view(program, program.sections[0].ops[0]);
  const OpDef& def = ops.at(view.op().kind);
  return def.cost == nullptr ? operand_bytes(view) : def.cost(view).bytes;
}

// One tile of numbers, as every element type, laid over a buffer again and again.
class RandomData {
 public:
  RandomData() {
    const RandomStream stream{1, 1};
    for (size_t i = 0; i < kTile; ++i) {
      const auto x = static_cast<float>(std::abs(stream.normal(i)) + 0.01);
      magnitudes_.push_back(x);
      signed_.push_back(stream.bits(kTile + i) % 2 == 0 ? x : -x);
      ids_.push_back(static_cast<int32_t>(stream.bits(2 * kTile + i)));
    }
  }

  // rstd and v are magnitudes; scalars and switches are 1; token ids lie below `vocab`, positions below kPositions.
  void fill(Machine& machine, const Buffer& b, int64_t vocab) const {
    if (b.dtype == DType::i64) return write(machine, b, std::vector<int64_t>{1});
    const int64_t limit = b.name.starts_with("positions") ? kPositions : vocab;
    if (b.dtype == DType::i32) return write(machine, b, ids_below(limit, b.elements() == 1));
    const bool positive = b.elements() == 1 || b.name.starts_with("rstd") || b.name[0] == 'v';
    const std::vector<float>& from = positive ? magnitudes_ : signed_;
    if (b.dtype == DType::f32) return write(machine, b, from);
    write(machine, b, std::vector<bf16>(from.begin(), from.end()));
  }

 private:
  static constexpr size_t kTile = 1 << 21;

  std::vector<int32_t> ids_below(int64_t limit, bool is_switch) const {
    if (is_switch) return {1};
    std::vector<int32_t> ids;
    for (const int32_t id : ids_) ids.push_back(static_cast<int32_t>(static_cast<uint32_t>(id) % limit));
    return ids;
  }

  template <class T>
  static void write(Machine& machine, const Buffer& b, const std::vector<T>& tile) {
    const auto size = static_cast<int64_t>(tile.size());
    for (int64_t first = 0; first < b.elements(); first += size) {
      const auto count = static_cast<size_t>(std::min(size, b.elements() - first));
      machine.write_elements(b.name, first, std::as_bytes(std::span(tile.data(), count)));
    }
  }

  std::vector<float> magnitudes_, signed_;
  std::vector<int32_t> ids_;
};

// Of one step, several of them enqueued before the wait.
double median_seconds(CudaMachine& machine, int steps) {
  std::vector<double> samples;
  for (int i = 0; i < kSamples; ++i) {
    const auto start = Clock::now();
    for (int s = 0; s < steps; ++s) machine.step();
    machine.wait();
    samples.push_back(std::chrono::duration<double>(Clock::now() - start).count() / steps);
  }
  std::ranges::nth_element(samples, samples.begin() + kSamples / 2);
  return samples[kSamples / 2];
}

struct Measured {
  double seconds, bytes;  // of one call
  double rate() const { return bytes / seconds; }
};

Measured measure(const OpTable& ops, const Case& c, const RandomData& data, int64_t vocab) {
  const double bytes = bytes_of_call(ops, program_of(ops, c, 1));
  const int calls = std::max(2, static_cast<int>(std::ceil(kBytesOfSection / bytes)));
  Program program = add_workspaces(program_of(ops, c, calls), ops, open_gpu(0).traits);
  program = place(std::move(program), {.red_zone_bytes = 0, .borrow = {}, .share_addresses = false});
  verify(program, ops);
  CudaMachine machine(std::move(program), ops, {});
  for (const Buffer& b : machine.program().buffers) {
    if (b.kind == BufferKind::parameter) data.fill(machine, b, vocab);
  }
  for (int warm_up = 0; warm_up < 3; ++warm_up) machine.step();  // launched, captured, replayed
  machine.wait();
  const int steps = std::max(1, static_cast<int>(kBytesOfSample / (bytes * calls)));
  return {median_seconds(machine, steps) / calls, bytes};
}

// The rates of copies, each measured once.
class Copies {
 public:
  explicit Copies(const OpTable& ops, const RandomData& data) : ops_(ops), data_(data) {}

  Measured of(double bytes) {
    bytes = std::min(bytes, kBytesOfLargeCopy);
    const auto known = measured_.find(bytes);
    if (known != measured_.end()) return known->second;
    return measured_[bytes] = measure(ops_, copy_case(bytes), data_, 1);
  }

 private:
  const OpTable& ops_;
  const RandomData& data_;
  std::map<double, Measured> measured_;
};

void print(const std::string& model, const Case& c, const Measured& m, Copies& copies) {
  fmt::print("{:<6}{:<20}{:<32}{:>8.1f}{:>9.1f}{:>7.2f}{:>9.0f}{:>9.0f}\n", model, c.op, c.shape, 1e6 * m.seconds,
             m.bytes / 1e6, m.rate() / 1e12, 100 * m.rate() / copies.of(kBytesOfLargeCopy).rate(),
             100 * m.rate() / copies.of(m.bytes).rate());
  std::fflush(stdout);
}

void run(const std::string& word) {
  const OpTable ops = all_ops();
  const RandomData data;
  fmt::print("{}\n{:<6}{:<20}{:<32}{:>8}{:>9}{:>7}{:>9}{:>9}\n", open_gpu(0).name, "model", "op", "shape", "us", "MB",
             "TB/s", "% large", "% alike");
  Copies copies(ops, data);
  print("", copy_case(kBytesOfLargeCopy), copies.of(kBytesOfLargeCopy), copies);
  for (const Model& m : kModels) {
    for (const Case& c : cases_of(m)) {
      if (fmt::format("{} {} {}", m.name, c.op, c.shape).find(word) == std::string::npos) continue;
      print(m.name, c, measure(ops, c, data, m.vocab), copies);
    }
  }
}

}  // namespace
}  // namespace centavo

int main(int argc, char** argv) {
  try {
    centavo::run(argc > 1 ? argv[1] : "");
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_gpu_ops: {}\n", error.what());
    return 1;
  }
}
