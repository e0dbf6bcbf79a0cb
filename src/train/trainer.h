// The training loop: fills the slots of a step, lets the machine run it, reads what came out.
//
//   OUT/config.toml      the resolved configuration
//   OUT/run.json         what else it takes to repeat the run (train/run_facts.h)
//   OUT/data/            the tokens, when they are made from `text` (data/corpus.h)
//   OUT/checkpoints/…    train/checkpoint_files.h
//   OUT/metrics.jsonl, OUT/events.out.tfevents.*, OUT/report.html
//   OUT/model/           the trained model as others load it (model/hf/model_directory.h); none, and it is said before
//                        the first step, where no family of theirs holds the model (model/hf/family.h)
//
// Given the costs of a machine, it says before the first step what the run will take, and at its end what steps took
// beside it (train/forecast_text.h). Given a file for it, each rank writes the timeline of one of its steps
// (machine/virtual/trace.h); a timeline that cannot be written is passed over with a warning.
//
// On several ranks each rank has a trainer of its own, and all do the same things in the same order. They share out the
// micro-batches of a step, the batches of a validation and the parts of a checkpoint; rank 0 alone holds OUT, prepares
// data and writes what people read. Before the first step ranks compare program, configuration and data, at each
// checkpoint the weights that all of them keep; who differs from rank 0 is named.
//
// A run holds OUT while it lives; a second one is refused. Stopped or killed at any moment it continues from its newest
// whole checkpoint and ends in the same bits.
//
// Errors: UserError for data that does not fit, an OUT that holds another run or is in use, a checkpoint that does not
// fit, and for a step whose loss or gradient is not finite (with step, op and buffer; the state before that step is
// saved, earlier checkpoints are untouched); OutOfMemory, before anything is written, when the plan does not fit.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/communicator.h"
#include "base/directory_lock.h"
#include "data/corpus.h"
#include "machine/comm/self.h"
#include "machine/make_machine.h"
#include "train/checkpoint_files.h"
#include "train/diagnose.h"
#include "train/forecast.h"
#include "train/gpu_monitor.h"
#include "train/rank_status.h"
#include "train/run_config.h"
#include "train/run_log.h"
#include "train/step_program.h"
#include "train/step_sampler.h"
#include "train/token_feed.h"

namespace centavo {

struct TrainOptions {
  enum class Start : uint8_t {
    fresh,
    resume,           // from the newest checkpoint in OUT
    resume_or_fresh,  // the same, and from step 0 where a run ended before its first
  };
  Start start = Start::fresh;
  std::FILE* log = nullptr;  // where progress goes; null: nowhere
  ProgressLog::Kind progress = ProgressLog::Kind::lines;
  std::function<bool()> stop = [] { return false; };  // asked after each step: true saves and ends the run
  std::string command = {};                           // as typed, for the record
  std::string tuning_directory = {};                  // as in MachineOptions
  Communicator* world = nullptr;                      // the ranks of the run; null: this process is all of it
  RankStatus* status = nullptr;                       // told what this rank does; null: nobody looks
  const CostSource* costs = nullptr;                  // predict the run, and compare; null: nothing is predicted
  std::string why_unpredicted = {};                   // said where `costs` is missing; empty: nothing
  std::string trace = {};                             // where a step's timeline goes; empty: nowhere
  int64_t trace_step = 5;                             // of this start, from 1; see StepSampler
  // Ops run one by one on a machine in debug mode, and a step ends at the first output that is not finite. No step is
  // timed or traced then.
  bool debug = false;
  std::string nvml = Nvml::kLibrary;  // the library that a GPU is watched through
};

struct StepMetrics {
  int64_t step = 0;  // counted from 0
  float loss = 0;    // nats per token, mean over the step
  float grad_norm = 0;
  float learning_rate = 0;
};

struct Validation {
  double nats_per_token = 0;
  double bits_per_byte = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
};

class Trainer {
 public:
  Trainer(const OpTable& ops, RunConfig config, const TrainOptions& options);
  ~Trainer();

  enum class Outcome : uint8_t { finished, stopped };
  // Trains to max_steps, validates, samples, checkpoints and reports as configured, and exports the model. What is due
  // after a step is measured behind its checkpoint; a run that goes on from there measures what its log lacks and
  // nothing again. A checkpoint on the way that cannot be written is passed over with a warning.
  Outcome run();

  // The pieces of run(), for tests.
  StepMetrics train_step();
  // Over the first `most_windows` windows of the validation split.
  Validation validate(int64_t most_windows);
  // Returns the checkpoint's directory.
  std::string save();

  int64_t steps_done() const { return steps_done_; }
  Machine& machine() { return *machine_; }

  // How long ranks wait for one that works alone, in seconds: it may tokenise a large text.
  static constexpr double kAloneDeadline = 24 * 3600;

 private:
  bool leads() const { return world_.rank() == 0; }
  int64_t micro_batches() const { return micro_batches_of(config_, world_.ranks()); }
  MachineOptions machine_options() const;
  void refuse_other_runs() const;
  void claim_output_directory();
  void open_data();
  void start_or_resume();
  void initialize();
  void set_counters();
  void compare_ranks(const char* what, const std::string& own) const;
  void compare_beginnings() const;
  void compare_weights() const;
  bool stop_agreed();
  double step_deadline() const;
  void resume_from(const NewestCheckpoint& newest);
  void check_resumable(const std::string& directory, const Checkpoint& checkpoint) const;
  [[noreturn]] void stop_at_non_finite(float loss, float grad_norm);
  bool due(int64_t every) const { return every > 0 && steps_done_ % every == 0; }
  bool resumes() const { return options_.start != TrainOptions::Start::fresh; }
  bool is_last() const { return steps_done_ == config_.max_steps; }
  bool validates() const { return evaluator_ != nullptr && feed_->validation_windows() > 0; }
  StepSampler::Wish sampling() const;
  OpObserver look_at_each_op();
  [[noreturn]] void stop_at_op(const NonFinite& where) const;
  void watch_gpu();
  void log_gpu();
  void log_gpu_use();
  void announce_gpu_use();
  void announce();
  void announce_forecast();
  void compare_forecast();
  void step_machine();
  void trace_if_due();
  void open_log();
  int64_t validation_windows_due() const;
  bool sample_due() const;
  bool owes(const Measured& measured) const;
  void measure(const Measured& measured);
  void validate_and_log(int64_t most_windows);
  void sample_and_log();
  bool is_saved();
  Measured measured_so_far();
  void save_if_possible();
  void train();
  void stop_early();
  void finish();

  const OpTable& ops_;
  RunConfig config_;
  TrainOptions options_;
  SelfCommunicator alone_;
  RankStatus nobody_looks_;
  RankStatus& status_;
  Communicator& world_;
  Worker worker_;
  Techniques techniques_;
  Program program_;
  uint64_t program_hash_ = 0;
  std::optional<DirectoryLock> lock_;
  ProgressLog progress_;
  std::optional<Corpus> corpus_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<Machine> evaluator_;
  std::optional<TokenFeed> feed_;
  std::unique_ptr<RunLog> run_log_;
  std::optional<GpuMonitor> gpu_monitor_;  // of the leading rank, where a GPU computes
  GpuUse gpu_use_;                         // not yet logged
  std::optional<StepSampler> sampler_;
  std::optional<Forecast> forecast_;
  int64_t steps_done_ = 0;
  double longest_step_ = 0;  // seconds
};

}  // namespace centavo
