#include "train/trainer.h"

#include <algorithm>

#include "base/between_ranks.h"
#include "base/files.h"
#include "base/json.h"
#include "machine/gpu_libraries.h"
#include "model/hf/family.h"
#include "program/text.h"
#include "train/export_checkpoint.h"
#include "train/fit.h"
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

}  // namespace

// How long ranks wait for each other inside a step. What one of them does alone (data, report, export) takes longer
// than any step, so that only there a rank that does not answer is taken for lost soon.
double Trainer::step_deadline() const {
  constexpr double kShortest = 20;
  constexpr double kLongestSteps = 5;
  return longest_step_ == 0 ? Communicator::kDefaultDeadlineSeconds
                            : std::max(kShortest, kLongestSteps * longest_step_);
}

StepMetrics Trainer::train_step() {
  status_.at(steps_done_ + 1);
  for (int64_t i = 0; i < micro_batches(); ++i) {
    const int64_t slot = (steps_done_ * micro_batches() + i) % token_slots(config_, world_.ranks());
    const int64_t leaf = i * world_.ranks() + world_.rank();
    if (leaf < config_.grad_accum_steps) {
      feed_->training(*machine_, steps_done_ * config_.grad_accum_steps + leaf, slot);
    } else {
      feed_->nothing(*machine_, slot);
    }
  }
  const auto lr = static_cast<float>(learning_rate_at(schedule_of(config_), steps_done_));
  const int64_t slot = steps_done_ % kStepSlots;
  machine_->write("lr", std::as_bytes(std::span<const float>(&lr, 1)), slot);
  step_machine();

  float metrics[4];
  machine_->read("metrics", std::as_writable_bytes(std::span(metrics)), slot);
  if (metrics[3] == 0) stop_at_non_finite(metrics[0], metrics[1]);
  return {steps_done_++, metrics[0], metrics[1], lr};
}

// The optimizer wrote nothing, so with the counters set back the machine holds the state before the step. All ranks
// have seen the same; each looks into its own micro-batches, and the lowest that finds something is believed.
void Trainer::stop_at_non_finite(float loss, float grad_norm) {
  world_.set_deadline(kAloneDeadline);
  const NonFinite where = find_non_finite(*machine_, ops_, steps_done_, micro_batches());
  set_counters();
  const std::string directory = is_saved() ? list_checkpoints(config_.out, world_).front().directory : save();
  const std::string own = where.found ? fmt::format(": micro-batch {}, {} wrote it to {}[{}]",
                                                    where.micro_batch * world_.ranks() + world_.rank(), where.op,
                                                    where.buffer, where.element)
                                      : std::string();
  std::string place;
  for (const std::string& text : all_gather_texts(world_, own)) {
    if (place.empty()) place = text;
  }
  progress_.close();
  user_error(
      "step {}: loss {} or gradient norm {} is not finite{}; the state before the step is in {}, start again with "
      "a lower learning_rate and another out=DIR",
      steps_done_, loss, grad_norm, place, directory);
}

std::string Trainer::save() {
  status_.state(RankState::saving);
  status_.op("");
  compare_weights();
  const std::string program = print(machine_->program());
  const std::vector<StatePart> state = state_parts(*machine_);
  std::string directory = write_checkpoint(
      config_.out, {steps_done_, program_hash_, corpus_->hash, print(config_), program, state}, world_);
  prune_checkpoints(config_.out, config_.keep_checkpoints, world_);
  status_.state(RankState::training);
  return directory;
}

bool Trainer::is_saved() {
  const std::vector<CheckpointPlace> checkpoints = list_checkpoints(config_.out, world_);
  return !checkpoints.empty() && checkpoints.front().step == steps_done_;
}

// Catches, unlike elsewhere, because the run has something better to do: the next checkpoint may find room again, and
// the last one, which the run cannot do without, is not written here.
void Trainer::save_if_possible() {
  try {
    save();
  } catch (const IoError& error) {
    status_.state(RankState::training);
    progress_.line(fmt::format("warning    step {} could not be saved: {}; going on to the next checkpoint",
                               steps_done_, error.what()));
  }
}

void Trainer::announce() {
  for (const std::string& line : plan_lines(config_, program_, worker_, machine_.get())) progress_.line(line);
  const std::string table = techniques_table(ops_, config_, worker_, techniques_);
  if (!table.empty()) progress_.line("techniques" + table);
  progress_.line(fmt::format("data       {}", data_line(*corpus_)));
  if (steps_done_ > 0) progress_.line(fmt::format("resume     after step {}", steps_done_));
  announce_forecast();
}

void Trainer::open_log() {
  if (!leads()) return;
  RunFacts facts = record_facts(config_, program_, program_hash_, *corpus_);
  facts.command = options_.command;
  facts.threads = worker_.threads;
  if (worker_.device == DeviceKind::cuda) {
    facts.machine.gpu = device_name(worker_.device);
    for (const GpuLibrary& library : gpu_libraries()) {
      if (!library.version.empty()) facts.machine.libraries.push_back({library.name, library.version});
    }
  } else {
    facts.peak_flops = measured_peak_flops(config_.precision, worker_.threads) * static_cast<double>(world_.ranks());
  }
  const int64_t tokens = config_.micro_batch * config_.grad_accum_steps * config_.seq_len;
  const StepCosts costs{tokens, step_flops(program_, ops_) * static_cast<double>(world_.ranks()),
                        program_.arena_bytes.at(Home::device)};
  write_file_atomic(config_.out + "/run.json", json_text(to_json(facts), 2) + "\n");
  const std::optional<int64_t> resumed_at = resumes() ? std::optional(steps_done_) : std::nullopt;
  run_log_ = std::make_unique<RunLog>(config_.out, facts, costs, resumed_at, progress_);
}

Trainer::Outcome Trainer::run() {
  announce();
  const Measured measured = measured_so_far();
  if (!is_last() || owes(measured)) {  // else it had finished: its record stays as it is
    open_log();
    watch_gpu();
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
  sampler_.emplace(sampling(), config_.max_steps - steps_done_);
  bool stopped = stop_agreed();
  while (!is_last() && !stopped) {
    const double start = steady_seconds();
    world_.set_deadline(step_deadline());
    const StepMetrics metrics = train_step();
    world_.set_deadline(kAloneDeadline);
    const double seconds = steady_seconds() - start;
    longest_step_ = std::max(longest_step_, seconds);
    sampler_->step_ended(seconds);
    trace_if_due();
    if (leads()) run_log_->step(steps_done_, seconds, metrics.loss, metrics.learning_rate, metrics.grad_norm);
    log_gpu();
    if (is_last()) {
      save();
    } else if (due(config_.checkpoint_every)) {
      save_if_possible();
    }
    measure({});
    stopped = stop_agreed();
  }
  if (!is_saved()) save();
  compare_forecast();
  announce_gpu_use();
}

// Where one rank has been told to stop, all do.
bool Trainer::stop_agreed() { return max_over_ranks(world_, int64_t{options_.stop() ? 1 : 0}) > 0; }

void Trainer::stop_early() {
  if (!leads()) return;
  write_report(config_.out);
  progress_.line(fmt::format("stopped    after step {}; go on with: centavo resume {}{}", steps_done_, config_.out,
                             world_.ranks() > 1 ? fmt::format(" --ranks {}", world_.ranks()) : ""));
}

// The checkpoint is written before: whatever fails here can be done again by resuming.
void Trainer::finish() {
  if (!leads()) return;
  write_report(config_.out);
  const std::string saved = list_checkpoints(config_.out).front().directory;
  progress_.line(fmt::format("saved      {}", saved));
  progress_.line(fmt::format("report     {}/report.html", config_.out));
  if (!why_not_exportable(config_.model).empty()) return;  // said when the run began
  const std::string model = config_.out + "/model";
  export_model(read_checkpoint(saved), config_.model, exported(corpus_->tokenizer), model);
  progress_.line(fmt::format("model      {}", model));
}

}  // namespace centavo
