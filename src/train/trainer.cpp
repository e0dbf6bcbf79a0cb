#include "train/trainer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/files.h"
#include "base/memory.h"
#include "base/printable.h"
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
#include "train/report.h"
#include "train/run_data.h"
#include "train/run_state.h"
#include "train/schedule.h"
#include "train/step_program.h"
#include "train/throughput.h"

namespace centavo {
namespace {

constexpr int64_t kStepSlots = 2;  // of the rings `lr` and `metrics`

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
  corpus_.emplace(open_run_data(config_, resumes() ? RunData::made : RunData::fresh, progress_));
  require_sample_prompt(config_, corpus_->tokenizer);  // refused now, not after the training
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
  if (!resumes() && has_checkpoints) {
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
  if (resumes()) newest = read_newest_checkpoint(config_.out);
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
  restore(*machine_, newest.checkpoint);
  steps_done_ = newest.checkpoint.step;
  const int64_t micro_step = steps_done_ * config_.grad_accum_steps;
  machine_->write("micro_step", std::as_bytes(std::span<const int64_t>(&micro_step, 1)));
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
  const std::string directory = is_saved() ? list_checkpoints(config_.out).front().directory : save();
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
  const std::vector<StatePart> state = state_parts(*machine_);
  const std::string directory =
      write_checkpoint(config_.out, {steps_done_, program_hash_, corpus_->hash, print(config_), program, state});
  prune_checkpoints(config_.out, config_.keep_checkpoints);
  return directory;
}

bool Trainer::is_saved() const {
  const std::vector<CheckpointPlace> checkpoints = list_checkpoints(config_.out);
  return !checkpoints.empty() && checkpoints.front().step == steps_done_;
}

// Catches, unlike elsewhere, because the run has something better to do: the next checkpoint may find room again, and
// the last one, which the run cannot do without, is not written here.
void Trainer::save_if_possible() {
  try {
    save();
  } catch (const IoError& error) {
    progress_.line(fmt::format("warning    step {} could not be saved: {}; going on to the next checkpoint",
                               steps_done_, error.what()));
  }
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
  facts.peak_flops = measured_peak_flops(config_.precision, threads_);
  const int64_t tokens = config_.micro_batch * config_.grad_accum_steps * config_.seq_len;
  const StepCosts costs{tokens, step_flops(program_, ops_), program_.arena_bytes.at(Home::device)};
  write_file_atomic(config_.out + "/run.json", to_json(facts).dump(2) + "\n");
  const std::optional<int64_t> resumed_at = resumes() ? std::optional(steps_done_) : std::nullopt;
  run_log_ = std::make_unique<RunLog>(config_.out, facts, costs, resumed_at, progress_);
}

int64_t Trainer::validation_windows_due() const {
  if (!validates()) return 0;
  if (is_last()) return feed_->validation_windows();
  return due(config_.validation_every) ? std::min(config_.validation_windows, feed_->validation_windows()) : 0;
}

bool Trainer::sample_due() const {
  return config_.sample_tokens > 0 && (is_last() || (steps_done_ > 0 && due(config_.sample_every)));
}

// Is something due after this step that is not among `measured`? The end also has to be on record.
bool Trainer::owes(const Measured& measured) const {
  return validation_windows_due() > measured.validation_windows || (sample_due() && !measured.sampled) ||
         measured.max_steps != config_.max_steps;
}

void Trainer::measure(const Measured& measured) {
  const int64_t windows = validation_windows_due();
  if (windows > measured.validation_windows) validate_and_log(windows);
  if (sample_due() && !measured.sampled) sample_and_log();
}

void Trainer::validate_and_log(int64_t most_windows) {
  const Validation v = validate(most_windows);
  run_log_->validation({.step = steps_done_,
                        .loss = v.nats_per_token,
                        .bits_per_byte = v.bits_per_byte,
                        .bytes = v.bytes,
                        .tokens = v.tokens,
                        .time = 0,
                        .windows = most_windows});
  run_log_->write_report();
}

void Trainer::sample_and_log() {
  const GenerationSettings settings{.max_tokens = config_.sample_tokens,
                                    .draw = {.temperature = config_.sample_temperature},
                                    .seed = static_cast<uint64_t>(config_.seed)};
  const std::string prompt = sample_prompt(config_, corpus_->tokenizer);
  const std::string text = sample_text(ops_, config_, *machine_, corpus_->tokenizer, prompt, settings);
  run_log_->sample({.step = steps_done_, .text = text, .prompt = prompt});
  progress_.line(fmt::format("sample     {}", printable(prompt + text)));
}

Trainer::Outcome Trainer::run() {
  announce();
  const Measured measured = resumes() ? measured_at(config_.out, steps_done_) : Measured{};
  if (!is_last() || owes(measured)) {  // else it had finished: its record stays as it is
    open_log();
    measure(measured);
    train();
  }
  if (is_last()) {
    finish();
    return Outcome::finished;
  }
  stop_early();
  return Outcome::stopped;
}

// The checkpoint comes first: what is measured behind it can be measured again by resuming.
void Trainer::train() {
  bool stopped = options_.stop();
  while (!is_last() && !stopped) {
    const double start = steady_seconds();
    const StepMetrics metrics = train_step();
    run_log_->step(steps_done_, steady_seconds() - start, metrics.loss, metrics.learning_rate, metrics.grad_norm);
    if (is_last()) {
      save();
    } else if (due(config_.checkpoint_every)) {
      save_if_possible();
    }
    measure({});
    stopped = options_.stop();
  }
  if (!is_saved()) save();
}

void Trainer::stop_early() {
  write_report(config_.out);
  progress_.line(fmt::format("stopped    after step {}; go on with: centavo resume {}", steps_done_, config_.out));
}

// The checkpoint is written before: whatever fails here can be done again by resuming.
void Trainer::finish() {
  write_report(config_.out);
  const std::string model = config_.out + "/model";
  export_model(*machine_, config_.model, exported(corpus_->tokenizer), model);
  progress_.line(fmt::format("saved      {}", list_checkpoints(config_.out).front().directory));
  progress_.line(fmt::format("report     {}/report.html", config_.out));
  progress_.line(fmt::format("model      {}", model));
}

}  // namespace centavo
