#include "train/trainer.h"

#include <chrono>
#include <cmath>

#include "base/files.h"
#include "model/initialize.h"
#include "passes/place.h"
#include "program/text.h"
#include "program/verify.h"
#include "train/diagnose.h"
#include "train/generate.h"
#include "train/run_state.h"
#include "train/schedule.h"
#include "train/step_program.h"

namespace centavo {
namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr int64_t kStepSlots = 2;  // of the rings `lr` and `metrics`
constexpr int64_t kCheckpointsKept = 2;

// Bytes as text that is safe on a terminal.
std::string printable(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    const bool plain = (c >= ' ' && c <= '~') || c == '\n' || c == '\t';
    text += plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

std::string mebibytes(int64_t bytes) { return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20)); }

std::string duration(double seconds) {
  if (!(seconds < 1e6)) return "?";
  const auto s = static_cast<int64_t>(seconds);
  return s < 60 ? fmt::format("{}s", s) : fmt::format("{}m{:02}s", s / 60, s % 60);
}

void check_vocabulary(const RunConfig& config) {
  if (config.model.vocab_size >= kByteVocabulary) return;
  user_error("model.vocab_size is {} and the bytes of a text are tokens 0 to 255; set model.vocab_size = 256",
             config.model.vocab_size);
}

}  // namespace

template <class... Args>
void Trainer::log(fmt::format_string<Args...> format, Args&&... args) const {
  if (options_.log == nullptr) return;
  fmt::print(options_.log, format, std::forward<Args>(args)...);
  std::fflush(options_.log);
}

Trainer::Trainer(const OpTable& ops, RunConfig config, const TrainOptions& options)
    : ops_(ops),
      config_(std::move(config)),
      options_(options),
      text_(config_.text, config_.validation_fraction, config_.seq_len),
      feed_(text_, config_.micro_batch, config_.seq_len, static_cast<uint64_t>(config_.seed)) {
  check_vocabulary(config_);
  data_hash_ = text_.hash();
  program_hash_ = hash_of(training_program(ops_, config_, 1, "sections"));
  const int threads = CpuMachine::thread_count(config_.threads);
  Program program = training_program(ops_, config_, threads);
  verify(program, ops_);
  machine_ = std::make_unique<CpuMachine>(std::move(program), ops_, CpuMachine::Options{.threads = config_.threads});
  if (config_.validation_fraction > 0 && config_.validation_windows > 0) {
    Program evaluation =
        evaluation_program(ops_, config_.model, {config_.precision, threads, {BufferKind::parameter}},
                           {.sequences = config_.micro_batch, .seq_len = config_.seq_len}, config_.loss_chunk);
    verify(evaluation, ops_);
    evaluator_ = std::make_unique<CpuMachine>(
        std::move(evaluation), ops_,
        CpuMachine::Options{.threads = config_.threads, .debug = false, .lender = machine_.get()});
  }
  claim_output_directory();
}

void Trainer::claim_output_directory() {
  const std::vector<CheckpointPlace> checkpoints = list_checkpoints(config_.out);
  if (options_.resume) {
    if (checkpoints.empty()) user_error("{} holds no checkpoint to resume from; train without --resume", config_.out);
    resume_from(checkpoints.front().directory);
  } else {
    if (!checkpoints.empty()) {
      user_error(
          "{} holds the checkpoints of an earlier run; continue it with --resume or choose another directory "
          "with out=DIR",
          config_.out);
    }
    initialize_parameters(*machine_, config_.model, static_cast<uint64_t>(config_.seed));
    if (machine_->program().find("seed") != kNone) {
      machine_->write("seed", std::as_bytes(std::span<const int64_t>(&config_.seed, 1)));
    }
  }
}

void Trainer::resume_from(const std::string& directory) {
  const Checkpoint checkpoint = read_checkpoint(directory);
  const RunConfig saved = parse_run_config_text(checkpoint.config, directory + "/config.toml", {});
  std::vector<std::string> changed = differing_keys(saved, config_);
  std::erase(changed, "max_steps");
  std::erase(changed, "out");  // a run directory may be moved
  if (!changed.empty()) {
    user_error("{} was made with other values of {}; a resumed run may change max_steps alone", directory,
               fmt::join(changed, ", "));
  }
  if (checkpoint.data_hash != data_hash_) {
    user_error("{} was made with another text than {}; resume with the same text", directory, config_.text);
  }
  if (checkpoint.program_hash != program_hash_) {
    user_error("{} was made with another program; resume with the version of centavo that wrote it", directory);
  }
  if (checkpoint.step > config_.max_steps) {
    user_error("{} stands at step {}, beyond max_steps = {}; raise max_steps", directory, checkpoint.step,
               config_.max_steps);
  }
  restore(*machine_, checkpoint.state);
  steps_done_ = checkpoint.step;
}

StepMetrics Trainer::train_step() {
  const int64_t micro_batches = config_.grad_accum_steps;
  for (int64_t i = 0; i < micro_batches; ++i) {
    const int64_t index = steps_done_ * micro_batches + i;
    feed_.training(*machine_, index, index % token_slots(config_));
  }
  const Schedule schedule{decay_of(config_.schedule), config_.learning_rate, config_.warmup_steps, config_.min_lr_ratio,
                          config_.max_steps};
  const auto lr = static_cast<float>(learning_rate_at(schedule, steps_done_));
  const int64_t slot = steps_done_ % kStepSlots;
  machine_->write("lr", std::as_bytes(std::span<const float>(&lr, 1)), slot);
  machine_->step();

  float metrics[4];
  machine_->read("metrics", std::as_writable_bytes(std::span(metrics)), slot);
  if (metrics[3] == 0) stop_at_non_finite(metrics[0], metrics[1]);
  return {steps_done_++, metrics[0], metrics[1], metrics[2]};
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
  user_error(
      "step {}: loss {} or gradient norm {} is not finite{}; the state before the step is in {}, start again with "
      "a lower learning_rate and another out=DIR",
      steps_done_, loss, grad_norm, place, directory);
}

double Trainer::validate() {
  CHECK(evaluator_ != nullptr);
  const int64_t windows = std::min(config_.validation_windows, text_.validation_windows());
  double loss = 0;
  int64_t count = 0;
  for (int64_t batch = 0; batch * config_.micro_batch < windows; ++batch) {
    feed_.validation(*evaluator_, batch, windows);
    evaluator_->step();
    float batch_loss = 0;
    int32_t batch_count = 0;
    evaluator_->read("loss", std::as_writable_bytes(std::span(&batch_loss, 1)));
    evaluator_->read("count", std::as_writable_bytes(std::span(&batch_count, 1)));
    loss += batch_loss;
    count += batch_count;
  }
  return loss / static_cast<double>(count);
}

std::string Trainer::save() {
  const std::string program = print(machine_->program());
  const std::vector<TensorView> tensors = persistent_tensors(*machine_);
  const std::string directory =
      write_checkpoint(config_.out, {steps_done_, program_hash_, data_hash_, print(config_), program, tensors});
  prune_checkpoints(config_.out, kCheckpointsKept);
  return directory;
}

void Trainer::announce() const {
  int64_t parameters = 0;
  for (const Buffer& b : machine_->program().buffers) {
    if (b.kind == BufferKind::parameter) parameters += b.elements();
  }
  log("model      {} parameters, {}, {} threads\n", parameters, config_.precision,
      CpuMachine::thread_count(config_.threads));
  log("data       {}: {} bytes, {} training and {} validation windows of {}\n", config_.text, text_.size_bytes(),
      text_.train_windows(), text_.validation_windows(), config_.seq_len);
  log("step       {} sequences of {} tokens, {} to {}\n", config_.micro_batch * config_.grad_accum_steps,
      config_.seq_len, steps_done_, config_.max_steps);
  log("memory     {} planned\n", mebibytes(machine_->program().arena_bytes.at(Home::device)));
  for (const RegionBytes& region : regions(machine_->program())) {
    log("           {:<16}{:>12}{}\n", name_of(region.kind), mebibytes(region.bytes),
        region.shares ? "  before addresses are shared" : "");
  }
}

void Trainer::report(const StepMetrics& metrics) {
  const bool last = steps_done_ == config_.max_steps;
  if (!last && !options_.live && steps_done_ % config_.log_every != 0) return;
  const double elapsed = now_seconds() - started_;
  const auto done = static_cast<double>(steps_done_ - started_at_step_);
  const double tokens = done * static_cast<double>(config_.micro_batch * config_.grad_accum_steps * config_.seq_len);
  const double rest = elapsed / done * static_cast<double>(config_.max_steps - steps_done_);
  log("{}step {:>6}/{}  loss {:.4f}  grad norm {:.3f}  {:.0f} tokens/s  {} left{}", options_.live ? "\r\033[K" : "",
      steps_done_, config_.max_steps, metrics.loss, metrics.grad_norm, tokens / elapsed, duration(rest),
      options_.live ? "" : "\n");
  line_open_ = options_.live;
}

void Trainer::report_validation() {
  last_validation_ = validate();
  log("{}step {:>6}/{}  validation loss {:.4f} nats per byte ({:.3f} bits)\n", line_open_ ? "\n" : "", steps_done_,
      config_.max_steps, last_validation_, last_validation_ / std::log(2.0));
  line_open_ = false;
}

void Trainer::print_sample() {
  const std::string prompt = config_.sample_prompt.empty() ? "\n" : config_.sample_prompt;
  const GenerationSettings settings{config_.sample_tokens, {.temperature = 0.8}, static_cast<uint64_t>(config_.seed)};
  const std::string text = sample_text(ops_, config_, *machine_, Tokenizer(), prompt, settings);
  log("sample     {}\n", printable(prompt + text));
}

void Trainer::run() {
  make_directories(config_.out);
  write_file_atomic(config_.out + "/config.toml", print(config_));
  announce();
  started_ = now_seconds();
  started_at_step_ = steps_done_;
  bool validated = false;
  bool saved = false;
  if (steps_done_ == 0 && evaluator_) report_validation();
  while (steps_done_ < config_.max_steps) {
    report(train_step());
    const auto due = [&](int64_t every) { return every > 0 && steps_done_ % every == 0; };
    validated = due(config_.validation_every) && evaluator_;
    saved = due(config_.checkpoint_every);
    if (validated) report_validation();
    if (saved) save();
  }
  if (evaluator_ && !validated) report_validation();
  if (!saved) save();
  if (line_open_) log("\n");
  if (config_.sample_tokens > 0) print_sample();
  log("saved      {}\n", list_checkpoints(config_.out).front().directory);
}

}  // namespace centavo
