// The training loop: fills the slots of a step, lets the machine run it, reads what came out.
//
//   OUT/config.toml      the resolved configuration
//   OUT/checkpoints/…    train/checkpoint_files.h
//
// Errors: UserError for data that is too short, an OUT that holds another run, a checkpoint that does not fit, and for
// a step whose loss or gradient is not finite (with step, op and buffer; the state before that step is saved, earlier
// checkpoints are untouched).
#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "machine/cpu/cpu_machine.h"
#include "train/run_config.h"
#include "train/text_data.h"
#include "train/token_feed.h"

namespace centavo {

struct TrainOptions {
  bool resume = false;       // continue from the newest checkpoint in OUT
  std::FILE* log = nullptr;  // where progress goes; null: nowhere
  bool live = false;         // the log is a terminal: the progress line is rewritten in place
};

struct StepMetrics {
  int64_t step = 0;  // counted from 0
  float loss = 0;    // nats per token, mean over the step
  float grad_norm = 0;
  float tokens = 0;
};

class Trainer {
 public:
  Trainer(const OpTable& ops, RunConfig config, const TrainOptions& options);

  // Trains to max_steps, validates, checkpoints and prints a sample as configured.
  void run();

  // The pieces of run(), for tests.
  StepMetrics train_step();
  // Mean nats per token over the validation windows.
  double validate();
  // Returns the checkpoint's directory.
  std::string save();

  int64_t steps_done() const { return steps_done_; }
  CpuMachine& machine() { return *machine_; }

 private:
  void announce() const;
  void claim_output_directory();
  void resume_from(const std::string& directory);
  [[noreturn]] void stop_at_non_finite(float loss, float grad_norm);
  void report(const StepMetrics& metrics);
  void report_validation();
  void print_sample();
  template <class... Args>
  void log(fmt::format_string<Args...> format, Args&&... args) const;

  const OpTable& ops_;
  RunConfig config_;
  TrainOptions options_;
  ByteText text_;
  uint64_t program_hash_ = 0;
  uint64_t data_hash_ = 0;
  std::unique_ptr<CpuMachine> machine_;
  std::unique_ptr<CpuMachine> evaluator_;
  TokenFeed feed_;
  int64_t steps_done_ = 0;
  double started_ = 0;  // seconds, on the steady clock
  int64_t started_at_step_ = 0;
  double last_validation_ = 0;
  bool line_open_ = false;  // the live line has not been ended
};

}  // namespace centavo
