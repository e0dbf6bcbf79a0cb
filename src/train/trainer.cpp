#include "train/trainer.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/between_ranks.h"
#include "base/files.h"
#include "base/memory.h"
#include "base/printable.h"
#include "model/hf/model_directory.h"
#include "model/initialize.h"
#include "program/tensors.h"
#include "program/text.h"
#include "program/verify.h"
#include "train/diagnose.h"
#include "train/export_checkpoint.h"
#include "train/fit.h"
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

constexpr int64_t kStepSlots = 2;             // of the rings `lr` and `metrics`
constexpr double kAloneDeadline = 24 * 3600;  // seconds: one rank may tokenise a large text while the others wait

Program verified(Program program, const OpTable& ops) {
  verify(program, ops);
  return program;
}

// Ranks on the host of this one, itself included.
int64_t neighbours(const Communicator& world) {
  int64_t count = 0;
  for (int64_t rank = 0; rank < world.ranks(); ++rank) {
    count += world.host_of(rank) == world.host_of(world.rank()) ? 1 : 0;
  }
  return count;
}

// As many threads as the run asks for, or this rank's share of the cores.
int threads_of(const RunConfig& config, const Communicator& world) {
  if (config.threads > 0) return CpuMachine::thread_count(config.threads);
  return static_cast<int>(std::max<int64_t>(1, CpuMachine::thread_count(0) / neighbours(world)));
}

// Rank 0 chooses: where hosts differ, each might choose otherwise, and then ranks would wait for each other in vain.
Techniques agreed_techniques(const OpTable& ops, const RunConfig& config, const Worker& worker, Communicator& world) {
  std::string chosen;
  if (world.rank() == 0) {
    const Techniques t = fit(ops, config, worker);
    chosen = fmt::format("{} {} {} {}", static_cast<int>(t.recompute.mode), t.recompute.steps,
                         t.offload.what.count(Offloaded::activations), t.offload.what.count(Offloaded::states));
  }
  chosen = broadcast_text(world, chosen, 0);
  Techniques t;
  int mode = 0;
  int activations = 0;
  int states = 0;
  const int fields = std::sscanf(chosen.c_str(), "%d %zu %d %d", &mode, &t.recompute.steps, &activations, &states);
  CHECK(fields == 4, "rank 0 chose {}", chosen);
  t.recompute.mode = static_cast<RecomputeChoice::Mode>(mode);
  if (activations > 0) t.offload.what.insert(Offloaded::activations);
  if (states > 0) t.offload.what.insert(Offloaded::states);
  return t;
}

}  // namespace

Trainer::Trainer(const OpTable& ops, RunConfig config, const TrainOptions& options)
    : ops_(ops),
      config_(std::move(config)),
      options_(options),
      status_(options.status == nullptr ? nobody_looks_ : *options.status),
      world_(options.world == nullptr ? alone_ : *options.world),
      worker_(threads_of(config_, world_), world_),
      techniques_(agreed_techniques(ops_, config_, worker_, world_)),
      program_(verified(training_program(ops_, config_, worker_, techniques_), ops_)),
      program_hash_(hash_of(training_program(ops_, config_, 1, "precision"))),
      progress_(leads() ? options_.log : nullptr, options_.progress, config_.log_every) {
  world_.set_deadline(kAloneDeadline);
  require_exportable(config_.model);
  require_work_for(config_, world_.ranks());
  require_memory(ops_, config_, worker_, program_, available_memory_bytes() / neighbours(world_));
  if (leads()) claim_output_directory();
  open_data();
  require_sample_prompt(config_, corpus_->tokenizer);  // refused now, not after the training
  compare_beginnings();
  feed_.emplace(*corpus_, config_.micro_batch, config_.seq_len, static_cast<uint64_t>(config_.seed));
  machine_ = std::make_unique<CpuMachine>(program_, ops_, machine_options());
  if (config_.validation_every > 0) {
    CpuMachine::Options borrowing = machine_options();
    borrowing.lender = machine_.get();
    evaluator_ =
        std::make_unique<CpuMachine>(verified(validation_program(ops_, config_, worker_), ops_), ops_, borrowing);
  }
  start_or_resume();
}

CpuMachine::Options Trainer::machine_options() const {
  CpuMachine::Options options{.threads = worker_.threads};
  options.communicator = &world_;
  options.host_directory = config_.out;
  return options;
}

// Rank 0 makes what is missing; the others open it.
void Trainer::open_data() {
  const RunData state = resumes() || !leads() ? RunData::made : RunData::fresh;
  if (leads()) corpus_.emplace(open_run_data(config_, state, progress_));
  barrier(world_);
  if (!leads()) corpus_.emplace(open_run_data(config_, state, progress_));
}

void Trainer::compare_ranks(const char* what, const std::string& own) const {
  const std::vector<std::string> all = all_gather_texts(world_, own);
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw RankError(
        fmt::format("rank {} on host {} has another {} than rank 0 on host {}; start all ranks with the same "
                    "program, run file and data",
                    rank, world_.host_of(static_cast<int64_t>(rank)), what, world_.host_of(0)));
  }
}

void Trainer::compare_beginnings() const {
  compare_ranks("program", fmt::format("{:016x}", program_hash_));
  compare_ranks("configuration", print(config_));
  compare_ranks("data", fmt::format("{:016x}", corpus_->hash));
}

// Weights that are kept whole are the same on every rank, unless memory or a computation went wrong.
void Trainer::compare_weights() const {
  uint64_t hash = 0;
  for (const TensorPart& part : tensor_parts(program_)) {
    const Buffer& buffer = program_.buffer(part.buffer);
    if (buffer.shard || part.kind != BufferKind::parameter) continue;
    const std::byte* memory = machine_->memory(buffer.name) + part.at * size_of(part.dtype);
    hash = XXH3_64bits_withSeed(memory, static_cast<size_t>(part.elements() * size_of(part.dtype)), hash);
  }
  compare_ranks("copy of the weights", fmt::format("{:016x}", hash));
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
  if (resumes()) newest = read_newest_checkpoint(config_.out, world_);
  if (newest) {
    resume_from(*newest);
  } else {
    initialize();
  }
  set_counters();
  if (leads()) write_file_atomic(config_.out + "/config.toml", print(config_));
  barrier(world_);
}

// The counter of micro-batches is a rank's own: how many there are depends on the number of ranks.
void Trainer::set_counters() {
  const int64_t micro_step = steps_done_ * micro_batches();
  machine_->write("step", std::as_bytes(std::span<const int64_t>(&steps_done_, 1)));
  machine_->write("micro_step", std::as_bytes(std::span<const int64_t>(&micro_step, 1)));
}

void Trainer::resume_from(const NewestCheckpoint& newest) {
  check_resumable(newest.directory, newest.checkpoint);
  for (const std::string& damage : newest.damaged) {
    progress_.line(fmt::format("warning    {}; going on from {}", damage, newest.directory));
  }
  // They would count as the newest when pruning.
  remove_checkpoints_beyond(config_.out, newest.checkpoint.step, world_);
  restore(*machine_, newest.checkpoint);
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
  std::erase(changed, "out");  // a run directory may be moved
  std::erase_if(changed, [](const std::string& key) { return std::ranges::count(keys_free_on_resume(), key) > 0; });
  if (!changed.empty()) {
    user_error("{} was made with other values of {}; a resumed run may change {} alone", directory,
               fmt::join(changed, ", "), fmt::join(keys_free_on_resume(), ", "));
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

// How long ranks wait for each other inside a step. What one of them does alone (data, report, export) takes longer
// than any step, so that only there a rank that does not answer is taken for lost soon.
double Trainer::step_deadline() const {
  constexpr double kShortest = 20;
  constexpr double kLongestSteps = 5;
  return longest_step_ == 0 ? Communicator::kDefaultDeadline_s : std::max(kShortest, kLongestSteps * longest_step_);
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

namespace {

// What a rank has computed of one batch.
struct BatchScore {
  double nats = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
};

std::string as_text(const std::vector<BatchScore>& scores) {
  return {reinterpret_cast<const char*>(scores.data()), scores.size() * sizeof(BatchScore)};
}

std::vector<BatchScore> as_scores(const std::string& text) {
  std::vector<BatchScore> scores(text.size() / sizeof(BatchScore));
  std::memcpy(scores.data(), text.data(), text.size());
  return scores;
}

}  // namespace

// Batch b belongs to rank b mod R. Scores are added in the order of the batches, whoever has computed them.
Validation Trainer::validate(int64_t most_windows) {
  CHECK(evaluator_ != nullptr);
  const int64_t windows = std::min(most_windows, feed_->validation_windows());
  const int64_t batches = (windows + config_.micro_batch - 1) / config_.micro_batch;
  const int64_t rounds = (batches + world_.ranks() - 1) / world_.ranks();
  std::vector<BatchScore> own;
  for (int64_t round = 0; round < rounds; ++round) {
    BatchScore score;
    score.bytes = feed_->validation(*evaluator_, round * world_.ranks() + world_.rank(), windows);
    evaluator_->step();
    float nats = 0;
    int32_t tokens = 0;
    evaluator_->read("loss", std::as_writable_bytes(std::span(&nats, 1)));
    evaluator_->read("count", std::as_writable_bytes(std::span(&tokens, 1)));
    score.nats = nats;
    score.tokens = tokens;
    own.push_back(score);
  }
  std::vector<std::vector<BatchScore>> all;
  for (const std::string& text : all_gather_texts(world_, as_text(own))) all.push_back(as_scores(text));
  double nats = 0;
  Validation result;
  for (int64_t batch = 0; batch < rounds * world_.ranks(); ++batch) {
    const BatchScore& score =
        all[static_cast<size_t>(batch % world_.ranks())][static_cast<size_t>(batch / world_.ranks())];
    nats += score.nats;
    result.tokens += score.tokens;
    result.bytes += score.bytes;
  }
  result.nats_per_token = nats / static_cast<double>(result.tokens);
  result.bits_per_byte = nats / std::numbers::ln2 / static_cast<double>(result.bytes);
  return result;
}

std::string Trainer::save() {
  status_.state(RankState::saving);
  status_.op("");
  compare_weights();
  const std::string program = print(machine_->program());
  const std::vector<StatePart> state = state_parts(*machine_);
  const std::string directory = write_checkpoint(
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
  for (const std::string& line : plan_lines(config_, program_, worker_)) progress_.line(line);
  const std::string table = techniques_table(ops_, config_, worker_, techniques_);
  if (!table.empty()) progress_.line("techniques" + table);
  progress_.line(fmt::format("data       {}", data_line(*corpus_)));
  if (steps_done_ > 0) progress_.line(fmt::format("resume     after step {}", steps_done_));
}

void Trainer::open_log() {
  if (!leads()) return;
  RunFacts facts = record_facts(config_, program_, program_hash_, *corpus_);
  facts.command = options_.command;
  facts.threads = worker_.threads;
  facts.peak_flops = measured_peak_flops(config_.precision, worker_.threads) * static_cast<double>(world_.ranks());
  const int64_t tokens = config_.micro_batch * config_.grad_accum_steps * config_.seq_len;
  const StepCosts costs{tokens, step_flops(program_, ops_) * static_cast<double>(world_.ranks()),
                        program_.arena_bytes.at(Home::device)};
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
  if (!leads()) return;
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
  const std::string text = sample_text(ops_, config_, worker_, *machine_, corpus_->tokenizer, prompt, settings);
  if (!leads()) return;
  run_log_->sample({.step = steps_done_, .text = text, .prompt = prompt});
  progress_.line(fmt::format("sample     {}", printable(prompt + text)));
}

// What rank 0 finds in the log of a run that goes on.
Measured Trainer::measured_so_far() {
  Measured measured = resumes() && leads() ? measured_at(config_.out, steps_done_) : Measured{};
  measured.validation_windows = max_over_ranks(world_, measured.validation_windows);
  measured.sampled = max_over_ranks(world_, int64_t{measured.sampled ? 1 : 0}) > 0;
  measured.max_steps = max_over_ranks(world_, measured.max_steps);
  return measured;
}

Trainer::Outcome Trainer::run() {
  announce();
  const Measured measured = measured_so_far();
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
  bool stopped = stop_agreed();
  while (!is_last() && !stopped) {
    const double start = steady_seconds();
    world_.set_deadline(step_deadline());
    const StepMetrics metrics = train_step();
    world_.set_deadline(kAloneDeadline);
    const double seconds = steady_seconds() - start;
    longest_step_ = std::max(longest_step_, seconds);
    if (leads()) run_log_->step(steps_done_, seconds, metrics.loss, metrics.learning_rate, metrics.grad_norm);
    if (is_last()) {
      save();
    } else if (due(config_.checkpoint_every)) {
      save_if_possible();
    }
    measure({});
    stopped = stop_agreed();
  }
  if (!is_saved()) save();
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
  const std::string model = config_.out + "/model";
  const std::string saved = list_checkpoints(config_.out).front().directory;
  export_model(read_checkpoint(saved), config_.model, exported(corpus_->tokenizer), model);
  progress_.line(fmt::format("saved      {}", saved));
  progress_.line(fmt::format("report     {}/report.html", config_.out));
  progress_.line(fmt::format("model      {}", model));
}

}  // namespace centavo
