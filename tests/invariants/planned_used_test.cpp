// Promise 1: what is planned is what is used.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/files.h"
#include "machine/comm/threads.h"
#include "machine/cpu/guard.h"
#include "model/initialize.h"
#include "ops/linear/product.h"
#include "passes/place.h"
#include "program/verify.h"
#include "tests/support/models.h"
#include "tests/support/sanitized.h"
#include "train/step_program.h"
#include "train/token_feed.h"

namespace centavo::testing {
namespace {

struct PlannedRun {
  const char* name;
  std::vector<std::string> keys;
};

// Sizes whose arenas dwarf what the process itself needs, over dtype, accumulation, shape and model.
std::vector<PlannedRun> planned_runs() {
  std::vector<PlannedRun> runs;
  for (const char* precision : {"fp32", "bf16", "bf16-stochastic"}) {
    for (const char* accumulation : {"1", "3"}) {
      for (const char* shape : {"64 4 2 128 4", "192 2 1 96 4", "128 3 4 256 2", "256 2 8 64 5"}) {
        int hidden = 0, layers = 0, kv = 0, seq = 0, batch = 0;
        std::sscanf(shape, "%d %d %d %d %d", &hidden, &layers, &kv, &seq, &batch);
        runs.push_back(
            {shape,
             {fmt::format("precision={}", precision), fmt::format("grad_accum_steps={}", accumulation),
              fmt::format("model.hidden_size={}", hidden), fmt::format("model.num_hidden_layers={}", layers),
              fmt::format("model.num_attention_heads={}", 8), fmt::format("model.num_key_value_heads={}", kv),
              fmt::format("model.intermediate_size={}", 3 * hidden), fmt::format("seq_len={}", seq),
              fmt::format("micro_batch={}", batch), "model.vocab_size=16384", "loss_chunk=256"}});
      }
    }
  }
  const std::vector<std::string> deep = {"precision=bf16",
                                         "grad_accum_steps=2",
                                         "model.hidden_size=128",
                                         "model.num_hidden_layers=8",
                                         "model.vocab_size=8192",
                                         "model.intermediate_size=384",
                                         "model.num_attention_heads=8",
                                         "seq_len=256",
                                         "micro_batch=4",
                                         "loss_chunk=256"};
  for (const char* technique : {"recompute=cheap", "recompute=attention", "recompute=full", "offload=activations",
                                "offload=states", "offload=all", "memory=96MiB"}) {
    runs.push_back({technique, deep});
    runs.back().keys.emplace_back(technique);
  }
  return runs;
}

int64_t arenas_of(const Program& program) {
  int64_t bytes = 0;
  for (const auto& [home, arena] : program.arena_bytes) bytes += arena;
  return bytes;
}

// In kB, from /proc/self/status.
int64_t status_field(const std::string& field) {
  const std::string status = read_file("/proc/self/status");
  const size_t at = status.find(field + ":");
  return std::atoll(status.c_str() + at + field.size() + 1);
}

void one_step(CpuMachine& machine, const RunConfig& config, const Corpus& corpus) {
  TokenFeed feed(corpus, config.micro_batch, config.seq_len, 1);
  for (int64_t i = 0; i < config.grad_accum_steps; ++i) feed.training(machine, i, i % token_slots(config));
  const float lr = 1e-3F;
  machine.write("lr", std::as_bytes(std::span<const float>(&lr, 1)));
  machine.step();
}

void restart_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// Bytes by which the peak rises over what is resident now, while `run` runs.
template <class F>
int64_t peak_bytes(const F& run) {
  const int64_t before = status_field("VmRSS");
  restart_peak();
  run();
  return (status_field("VmHWM") - before) * 1024;
}

// `runtime`: what the libraries take outside the arena. oneDNN packs operands into memory of its own, the more the
// larger the product, and on processors that multiply bf16 other amounts of bf16 than of f32; measured once on products
// larger than any below.
int64_t measured_runtime_bytes(DType dtype) {
  constexpr int64_t kSize = 1536;
  const std::vector<std::byte> a(static_cast<size_t>(kSize * kSize * size_of(dtype)), std::byte{1});
  std::vector<std::byte> c(a);
  const ProductSpec spec = {.m = kSize, .n = kSize, .k = kSize, .a = dtype, .b = dtype, .c = dtype};
  const Product product(spec);
  const auto workspace_bytes = static_cast<size_t>(Product::workspace_bytes(spec) + kAlignment);
  std::vector<std::byte> workspace(workspace_bytes, std::byte{1});  // touched before the measurement
  void* start = workspace.data();
  size_t room = workspace_bytes;
  CHECK(std::align(kAlignment, 1, start, room) != nullptr);
  return peak_bytes([&] { product.run(a.data(), a.data(), c.data(), start); });
}

int64_t measured_runtime_bytes() {
  return std::max(measured_runtime_bytes(DType::f32), measured_runtime_bytes(DType::bf16));
}

// Libraries make tables, and a kernel for each shape and dtype, at their first use; those stay.
void warm_libraries(const RunConfig& config, const Corpus& corpus) {
  CpuMachine machine(training_program(test_ops(), config, 2), test_ops(), {.threads = 2});
  one_step(machine, config, corpus);
}

// The peak of a step, the making of the machine included, lies within 2 % of the plan and of the plan plus `runtime`.
TEST(PlannedUsed, PeakResidentMemoryIsThePlan) {
  if (kSanitized) GTEST_SKIP() << "the sanitizers' shadow memory would be counted";
  const auto runs = planned_runs();
  ASSERT_GE(runs.size(), 20U);
  const int64_t runtime = measured_runtime_bytes();
  EXPECT_LT(runtime, 16 << 20);
  for (const PlannedRun& run : runs) {
    const RunConfig config = micro_run(fresh_directory("planned"), run.keys);
    const Corpus corpus = corpus_of(config);
    warm_libraries(config, corpus);
    Program program = training_program(test_ops(), config, 2);
    const auto planned = static_cast<double>(arenas_of(program));
    const auto used = static_cast<double>(peak_bytes([&] {
      CpuMachine machine(std::move(program), test_ops(), {.threads = 2});
      one_step(machine, config, corpus);
    }));
    EXPECT_GE(used, 0.98 * planned) << run.name << " " << run.keys[0] << " " << run.keys[1];
    EXPECT_LE(used, 1.02 * planned + static_cast<double>(runtime))
        << run.name << " " << run.keys[0] << " " << run.keys[1];
  }
}

// The same of every rank of a world, for each row of the sharding table.
TEST(PlannedUsed, PeakResidentMemoryOfRanksIsTheirPlans) {
  if (kSanitized) GTEST_SKIP() << "the sanitizers' shadow memory would be counted";
  const int64_t runtime = measured_runtime_bytes();
  for (const std::string& row : shard_rule_names()) {
    const RunConfig config =
        micro_run(fresh_directory("planned ranks"),
                  {"precision=bf16", "grad_accum_steps=4", "model.hidden_size=192", "model.num_hidden_layers=4",
                   "model.num_attention_heads=8", "model.intermediate_size=576", "model.vocab_size=16384", "seq_len=96",
                   "micro_batch=4", "loss_chunk=256", "shard=" + row});
    const Corpus corpus = corpus_of(config);
    warm_libraries(config, corpus);
    const Mesh mesh = row.starts_with("hybrid") ? Mesh{2, 2} : Mesh{1, 2};
    ThreadWorld world(mesh.ranks());
    double planned = 0;
    std::vector<Program> programs;
    for (int64_t rank = 0; rank < mesh.ranks(); ++rank) {
      programs.push_back(training_program(test_ops(), config, Worker(1, mesh, rank)));
      planned += static_cast<double>(arenas_of(programs.back()));
    }
    const auto used = static_cast<double>(peak_bytes([&] {
      world.run([&](Communicator& rank) {
        CpuMachine::Options options{.threads = 1};
        options.communicator = &rank;
        CpuMachine machine(std::move(programs[static_cast<size_t>(rank.rank())]), test_ops(), options);
        RunConfig own = config;
        own.grad_accum_steps = micro_batches_of(config, rank.ranks());
        one_step(machine, own, corpus);
      });
    }));
    EXPECT_GE(used, 0.98 * planned) << row;
    EXPECT_LE(used, 1.02 * planned + static_cast<double>(mesh.ranks() * runtime)) << row;
  }
}

// Every byte an op touches lies in its declared buffers: red zones stay intact, outputs are poisoned before they are
// written, and in a sanitizer build all other bytes of the arena are out of bounds for the kernels.
TEST(PlannedUsed, NothingTouchesUndeclaredMemory) {
  for (const char* precision : {"fp32", "bf16", "bf16-stochastic"}) {
    for (const char* accumulation : {"1", "2", "3"}) {
      for (const char* tied : {"true", "false"}) {
        const RunConfig config =
            micro_run(fresh_directory("guard"),
                      {fmt::format("precision={}", precision), fmt::format("grad_accum_steps={}", accumulation),
                       fmt::format("model.tie_word_embeddings={}", tied), "model.attention_bias=true",
                       "model.sliding_window=5", "loss_chunk=7"});
        const Corpus corpus = corpus_of(config);
        const auto machine = machine_for(training_program(test_ops(), config, 2, "sections"), {.debug = true});
        initialize_parameters(*machine, config.model, 1);
        one_step(*machine, config, corpus);
        float metrics[4];
        machine->read("metrics", std::as_writable_bytes(std::span(metrics)));
        EXPECT_EQ(metrics[3], 1) << "poison reached the loss";
      }
    }
  }
}

}  // namespace
}  // namespace centavo::testing
