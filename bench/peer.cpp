// What another program needs to train as centavo does, and centavo's losses on the same: see bench/torch_run.py and
// bench/compare_runs.py.
//
//   bench_peer inputs RUN DIR [key=value...]
//       RUN is a run file with data=DIRECTORY, or a case of bench/step_cases.h, which sees random tokens.
//       DIR/run.toml          the resolved run
//           model/            the initial weights as Hugging Face's classes load them; f32, or bf16 where no f32 exists
//           train.bin         what max_steps steps see (train/batch_file.h)
//           validation.bin    the validation split; not of random tokens
//   bench_peer losses DIR [key=value...]
//       Trains as DIR/run.toml says on DIR/train.bin, and prints {"step", "loss", "grad_norm", "lr"} for each step.
//       Nothing is saved, so the largest models need no disk; `centavo train` feeds, steps and schedules the same.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "machine/cpu/cpu_machine.h"
#include "machine/make_machine.h"
#include "model/hf/model_directory.h"
#include "model/initialize.h"
#include "ops/all.h"
#include "program/verify.h"
#include "step_cases.h"
#include "train/batch_file.h"
#include "train/export_checkpoint.h"
#include "train/schedule.h"
#include "train/step_program.h"
#include "train/token_feed.h"

namespace centavo {
namespace {

constexpr int64_t kStepSlots = 2;     // of the rings `lr` and `metrics`
constexpr int64_t kLossChunk = 1024;  // tokens whose logits an evaluation holds

Worker worker_of(const RunConfig& config) {
  Worker worker(CpuMachine::thread_count(config.threads));
  worker.use(config.device, config.deterministic);
  return worker;
}

std::unique_ptr<Machine> machine_of(Program program, const OpTable& ops, const Worker& worker) {
  verify(program, ops);
  return make_machine(std::move(program), ops, worker.machine_options());
}

// A machine that holds the parameters alone; the weights depend on seed and name, not on the program.
void write_weights(const RunConfig& config, const Tokenizer& tokenizer, const std::string& directory) {
  const OpTable ops = all_ops();
  const Worker worker = worker_of(config);
  const Inference inference{.precision = config.precision == "bf16-stochastic" ? "bf16" : "fp32", .worker = worker};
  const BatchShape batch{.sequences = 1, .seq_len = config.seq_len, .max_docs = 1, .uniform = true};
  const auto machine = machine_of(evaluation_program(ops, config.model, inference, batch, kLossChunk), ops, worker);
  initialize_parameters(*machine, config.model, static_cast<uint64_t>(config.seed));
  export_model(*machine, config.model, exported(tokenizer), directory);
}

void write_corpus_inputs(const RunConfig& config, const std::string& directory) {
  const Corpus corpus = open_corpus(config.data);
  write_training_batches(corpus, config, config.max_steps, directory + "/train.bin");
  write_validation_batches(corpus, config, directory + "/validation.bin");
  write_weights(config, corpus.tokenizer, directory + "/model");
}

void write_random_inputs(const RunConfig& config, const std::string& directory) {
  write_random_batches(config, config.max_steps, directory + "/train.bin");
  write_weights(config, Tokenizer(), directory + "/model");
}

void inputs(const std::string& run, const std::string& directory, const std::vector<std::string>& overrides) {
  const bool is_file = run.ends_with(".toml");
  const RunConfig config = is_file ? parse_run_config(run, overrides) : step_case(run, overrides);
  make_directories(directory);
  write_file_atomic(directory + "/run.toml", print(config));
  is_file ? write_corpus_inputs(config, directory) : write_random_inputs(config, directory);
}

template <class T>
void write_value(Machine& machine, const char* name, const T& value, int64_t slot = 0) {
  machine.write(name, std::as_bytes(std::span<const T>(&value, 1)), slot);
}

// As Trainer::initialize and set_counters.
void begin(Machine& machine, const RunConfig& config) {
  initialize_parameters(machine, config.model, static_cast<uint64_t>(config.seed));
  if (machine.program().find("seed") != kNone) write_value(machine, "seed", config.seed);
  write_value(machine, "step", int64_t{0});
  write_value(machine, "micro_step", int64_t{0});
}

nlohmann::ordered_json train_step(Machine& machine, const RunConfig& config, const BatchFile& file, int64_t step) {
  for (int64_t i = step * config.grad_accum_steps; i < (step + 1) * config.grad_accum_steps; ++i) {
    write_batch(machine, file.batch(i), i % token_slots(config));
  }
  const auto lr = static_cast<float>(learning_rate_at(schedule_of(config), step));
  write_value(machine, "lr", lr, step % kStepSlots);
  machine.step();
  float metrics[4];
  machine.read("metrics", std::as_writable_bytes(std::span(metrics)), step % kStepSlots);
  return {{"step", step + 1}, {"loss", metrics[0]}, {"grad_norm", metrics[1]}, {"lr", lr}};
}

void losses(const std::string& directory, const std::vector<std::string>& overrides) {
  const RunConfig config = parse_run_config(directory + "/run.toml", overrides);
  const BatchFile file(directory + "/train.bin");
  const OpTable ops = all_ops();
  const Worker worker = worker_of(config);
  const auto machine = machine_of(training_program(ops, config, worker), ops, worker);
  begin(*machine, config);
  for (int64_t step = 0; step < config.max_steps; ++step) {
    fmt::print("{}\n", json_text(train_step(*machine, config, file, step)));
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace centavo

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (words.size() >= 3 && words[0] == "inputs") {
      centavo::inputs(words[1], words[2], {words.begin() + 3, words.end()});
    } else if (words.size() >= 2 && words[0] == "losses") {
      centavo::losses(words[1], {words.begin() + 2, words.end()});
    } else {
      fmt::print(stderr,
                 "usage: bench_peer inputs RUN.toml|CASE DIR [key=value...]\n"
                 "       bench_peer losses DIR [key=value...]\n");
      return 2;
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_peer: {}\n", error.what());
    return 1;
  }
}
