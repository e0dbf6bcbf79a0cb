#include "train/trainer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/files.h"
#include "base/memory.h"
#include "model/hf/model_directory.h"
#include "model/initialize.h"
#include "program/text.h"
#include "program/verify.h"
#include "train/diagnose.h"
#include "train/export_checkpoint.h"
#include "train/generate.h"
#include "train/memory_fit.h"
#include "train/plan_text.h"
#include "train/record_facts.h"
#include "train/run_data.h"
#include "train/run_state.h"
#include "train/schedule.h"
#include "train/step_program.h"
#include "train/throughput.h"

namespace centavo {
namespace {

constexpr int64_t kStepSlots = 2;  // of the rings `lr` and `metrics`

// Text that is safe on a terminal: control characters but line ends and tabs are written out.
std::string printable(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    const bool control = (code < 0x20 && c != '\n' && c != '\t') || code == 0x7f;
    safe += control ? fmt::format("\\x{:02x}", code) : std::string(1, c);
  }
  return safe;
}

Program verified(Program program, const OpTable& ops) {
  verify(program, ops);
  return program;
}

}  // namespace

Trainer::Trainer(const OpTable& ops, RunConfig config, const TrainOptions& options)
    : ops_(ops),
      config_(std::move(config)),
      options_(options),
      threads_(CpuMachine::thread_count(config_.threads)),
      program_(verified(training_program(ops_, config_, threads_), ops_)),
      program_hash_(hash_of(training_program(ops_, config_, 1, "sections"))),
      progress_(options_.log, options_.progress, config_.log_every) {
  require_exportable(config_.model);
  require_memory(ops_, config_, threads_, program_, available_memory_bytes());
  claim_output_directory();
  const bool begins = options_.start == TrainOptions::Start::fresh;
  corpus_.emplace(open_run_data(config_, begins ? RunData::fresh : RunData::made, progress_));
  if (config_.sample_tokens > 0) {  // a prompt that does not fit is refused now, not after the training
    prompt_tokens(corpus_->tokenizer, sample_prompt(), config_.model.max_position_embeddings);
  }
  feed_.emplace(*corpus_, config_.micro_batch, config_.seq_len, static_cast<uint64_t>(config_.seed));
  machine_ = std::make_unique<CpuMachine>(program_, ops_, CpuMachine::Options{.threads = config_.threads});
  if (config_.validation_every > 0) {
    evaluator_ = std::make_unique<CpuMachine>(
        verified(validation_program(ops_, config_, threads_), ops_), ops_,
        CpuMachine::Options{.threads = config_.threads, .debug = false, .lender = machine_.get()});
  }
  start_or_resume();
}

Trainer::~Trainer() = default;

void Trainer::refuse_other_runs() const {
  const bool has_checkpoints = !list_checkpoints(config_.out).empty();
  if (options_.start == TrainOptions::Start::fresh && has_checkpoints) {
    user_error(
        "{} holds the checkpoints of an earlier run; continue it with --resume or choose another directory "
        "with out=DIR",
        config_.out);
  }
  if (options_.start == TrainOptions::Start::resume && !has_checkpoints) {
    user_error("{} holds no checkpoint to resume from; train without --resume", config_.out);
  }
}

// Nothing is written before it is clear that OUT is free for this run.
void Trainer::claim_output_directory() {
  refuse_other_runs();
  make_directories(config_.out);
  lock_.emplace(config_.out);
  refuse_other_runs();  // one may have ended between the look and the lock
}

void Trainer::start_or_resume() {
  std::optional<NewestCheckpoint> newest;
  if (options_.start != TrainOptions::Start::fresh) newest = read_newest_checkpoint(config_.out);
  if (newest) {
    resume_from(*newest);
  } else {
    initialize();
  }
  write_file_atomic(config_.out + "/config.toml", print(config_));
}

void Trainer::resume_from(const NewestCheckpoint& newest) {
  check_resumable(newest.directory, newest.checkpoint);
  for (const std::string& damage : newest.damaged) {
    progress_.line(fmt::format("warning    {}; going on from {}", damage, newest.directory));
  }
  remove_checkpoints_beyond(config_.out, newest.checkpoint.step);  // they would count as the newest when pruning
  restore(*machine_, newest.checkpoint.state);
  steps_done_ = newest.checkpoint.step;
}

void Trainer::initialize() {
  initialize_parameters(*machine_, config_.model, static_cast<uint64_t>(config_.seed));
  if (machine_->program().find("seed") != kNone) {
    machine_->write("seed", std::as_bytes(std::span<const int64_t>(&config_.seed, 1)));
  }
}

void Trainer::check_resumable(const std::string& directory, const Checkpoint& checkpoint) const {
  const RunConfig saved = parse_run_config_text(checkpoint.config, directory + "/config.toml", {});
  std::vector<std::string> changed = differing_keys(saved, config_);
  std::erase(changed, "max_steps");
  std::erase(changed, "out");  // a run directory may be moved
  if (!changed.empty()) {
    user_error("{} was made with other values of {}; a resumed run may change max_steps alone", directory,
               fmt::join(changed, ", "));
  }
  if (checkpoint.data_hash != corpus_->hash) {
    user_error("{} was made with other data than {}; resume with the same data", directory,
               config_.data.empty() ? config_.out + "/data" : config_.data);
  }
  if (checkpoint.program_hash != program_hash_) {
    user_error("{} was made with another program; resume with the version of centavo that wrote it", directory);
  }
  if (checkpoint.step > config_.max_steps) {
    user_error("{} stands at step {}, beyond max_steps = {}; raise max_steps", directory, checkpoint.step,
               config_.max_steps);
  }
}

StepMetrics Trainer::train_step() {
  const int64_t micro_batches = config_.grad_accum_steps;
  for (int64_t i = 0; i < micro_batches; ++i) {
    const int64_t index = steps_done_ * micro_batches + i;
    feed_->training(*machine_, index, index % token_slots(config_));
  }
  const Schedule schedule{.decay = decay_of(config_.schedule),
                          .learning_rate = config_.learning_rate,
                          .warmup_steps = config_.warmup_steps,
                          .min_lr_ratio = config_.min_lr_ratio,
                          .max_steps = config_.max_steps,
                          .decay_steps = config_.decay_steps};
  const auto lr = static_cast<float>(learning_rate_at(schedule, steps_done_));
  const int64_t slot = steps_done_ % kStepSlots;
  machine_->write("lr", std::as_bytes(std::span<const float>(&lr, 1)), slot);
  machine_->step();

  float metrics[4];
  machine_->read("metrics", std::as_writable_bytes(std::span(metrics)), slot);
  if (metrics[3] == 0) stop_at_non_finite(metrics[0], metrics[1]);
  return {steps_done_++, metrics[0], metrics[1], lr};
}

// The optimizer wrote nothing, so with the counters set back the machine holds the state before the step.
void Trainer::stop_at_non_finite(float loss, float grad_norm) {
  const NonFinite where = find_non_finite(*machine_, steps_done_, config_.grad_accum_steps);
  const int64_t micro_step = steps_done_ * config_.grad_accum_steps;
  machine_->write("step", std::as_bytes(std::span<const int64_t>(&steps_done_, 1)));
  machine_->write("micro_step", std::as_bytes(std::span<const int64_t>(&micro_step, 1)));
  const std::vector<CheckpointPlace> checkpoints = list_checkpoints(config_.out);
  const bool saved = !checkpoints.empty() && checkpoints.front().step == steps_done_;
  const std::string directory = saved ? checkpoints.front().directory : save();
  const std::string place = where.found ? fmt::format(": micro-batch {}, {} wrote it to {}[{}]", where.micro_batch,
                                                      where.op, where.buffer, where.element)
                                        : std::string();
  progress_.close();
  user_error(
      "step {}: loss {} or gradient norm {} is not finite{}; the state before the step is in {}, start again with "
      "a lower learning_rate and another out=DIR",
      steps_done_, loss, grad_norm, place, directory);
}

Validation Trainer::validate(int64_t most_windows) {
  CHECK(evaluator_ != nullptr);
  const int64_t windows = std::min(most_windows, feed_->validation_windows());
  double nats = 0;
  Validation result;
  for (int64_t batch = 0; batch * config_.micro_batch < windows; ++batch) {
    result.bytes += feed_->validation(*evaluator_, batch, windows);
    evaluator_->step();
    float batch_nats = 0;
    int32_t batch_tokens = 0;
    evaluator_->read("loss", std::as_writable_bytes(std::span(&batch_nats, 1)));
    evaluator_->read("count", std::as_writable_bytes(std::span(&batch_tokens, 1)));
    nats += batch_nats;
    result.tokens += batch_tokens;
  }
  result.nats_per_token = nats / static_cast<double>(result.tokens);
  result.bits_per_byte = nats / std::numbers::ln2 / static_cast<double>(result.bytes);
  return result;
}

std::string Trainer::save() {
  const std::string program = print(machine_->program());
  const std::vector<TensorView> tensors = persistent_tensors(*machine_);
  const std::string directory =
      write_checkpoint(config_.out, {steps_done_, program_hash_, corpus_->hash, print(config_), program, tensors});
  prune_checkpoints(config_.out, config_.keep_checkpoints);
  return directory;
}

void Trainer::announce() {
  for (const std::string& line : plan_lines(config_, program_, threads_)) progress_.line(line);
  progress_.line(fmt::format("data       {}", data_line(*corpus_)));
  if (steps_done_ > 0) progress_.line(fmt::format("resume     after step {}", steps_done_));
}

void Trainer::open_log() {
  RunFacts facts = record_facts(config_, program_, program_hash_, *corpus_);
  facts.command = options_.command;
  facts.threads = threads_;
  facts.peak_flops = measured_peak_flops(config_.precision);
  const int64_t tokens = config_.micro_batch * config_.grad_accum_steps * config_.seq_len;
  const StepCosts costs{tokens, step_flops(program_, ops_), program_.arena_bytes.at(Home::device)};
  write_file_atomic(config_.out + "/run.json", to_json(facts).dump(2) + "\n");
  run_log_ = std::make_unique<RunLog>(config_.out, facts, costs, steps_done_, progress_);
}

void Trainer::validate_and_log(int64_t most_windows) {
  const Validation v = validate(most_windows);
  run_log_->validation({.step = steps_done_,
                        .loss = v.nats_per_token,
                        .bits_per_byte = v.bits_per_byte,
                        .bytes = v.bytes,
                        .tokens = v.tokens,
                        .time = 0});
  run_log_->write_report();
}

// Without a token to start from, a text starts on a new line.
std::string Trainer::sample_prompt() const {
  const bool nothing = config_.sample_prompt.empty() && !corpus_->tokenizer.end_of_text();
  return nothing ? "\n" : config_.sample_prompt;
}

void Trainer::sample_and_log() {
  const GenerationSettings settings{.max_tokens = config_.sample_tokens,
                                    .draw = {.temperature = config_.sample_temperature},
                                    .seed = static_cast<uint64_t>(config_.seed)};
  const std::string text = sample_text(ops_, config_, *machine_, corpus_->tokenizer, sample_prompt(), settings);
  run_log_->sample({.step = steps_done_, .text = text, .prompt = sample_prompt()});
  progress_.line(fmt::format("sample     {}", printable(sample_prompt() + text)));
}

Trainer::Outcome Trainer::run() {
  announce();
  open_log();
  bool saved = false;
  if (steps_done_ == 0 && validates()) validate_and_log(config_.validation_windows);
  bool stopped = options_.stop();
  while (steps_done_ < config_.max_steps && !stopped) {
    const double start = steady_seconds();
    const StepMetrics metrics = train_step();
    run_log_->step(steps_done_, steady_seconds() - start, metrics.loss, metrics.learning_rate, metrics.grad_norm);
    const bool last = steps_done_ == config_.max_steps;
    saved = due(config_.checkpoint_every);
    if (saved) save();
    if (!last && due(config_.validation_every) && validates()) validate_and_log(config_.validation_windows);
    if (!last && due(config_.sample_every) && config_.sample_tokens > 0) sample_and_log();
    stopped = options_.stop();
  }
  if (!saved) save();
  if (steps_done_ < config_.max_steps) {
    stop_early();
    return Outcome::stopped;
  }
  finish();
  return Outcome::finished;
}

void Trainer::stop_early() {
  run_log_->write_report();
  progress_.line(fmt::format("stopped    after step {}; go on with: centavo resume {}", steps_done_, config_.out));
}

// The checkpoint is written before: whatever fails here can be done again by resuming.
void Trainer::finish() {
  if (validates()) validate_and_log(feed_->validation_windows());
  if (config_.sample_tokens > 0) sample_and_log();
  run_log_->write_report();
  const std::string model = config_.out + "/model";
  export_model(*machine_, config_.model, exported(corpus_->tokenizer), model);
  progress_.line(fmt::format("saved      {}", list_checkpoints(config_.out).front().directory));
  progress_.line(fmt::format("report     {}/report.html", config_.out));
  progress_.line(fmt::format("model      {}", model));
}

}  // namespace centavo
