// How a run begins: what it holds, what it is compared with, where it goes on.

#include <xxhash.h>

#include <algorithm>
#include <cinttypes>
#include <filesystem>

#include "base/between_ranks.h"
#include "base/files.h"
#include "machine/cpu/cpu_machine.h"
#include "model/hf/model_directory.h"
#include "model/initialize.h"
#include "program/tensors.h"
#include "program/text.h"
#include "program/verify.h"
#include "train/fit.h"
#include "train/generate.h"
#include "train/loss_chunk.h"
#include "train/memory_fit.h"
#include "train/plan_text.h"
#include "train/run_data.h"
#include "train/run_state.h"
#include "train/trainer.h"

namespace centavo {
namespace {

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

Worker worker_of(const RunConfig& config, const TrainOptions& options, Communicator& world) {
  Worker worker(threads_of(config, world), world);
  worker.use(config.device, config.deterministic);
  worker.tuning_directory = options.tuning_directory;
  worker.debug = options.debug;
  return worker;
}

// A run that goes on keeps the chunks it has begun with: they are part of its bits.
RunConfig with_loss_chunk_of(RunConfig config, bool resumes) {
  const std::string begun = config.out + "/config.toml";
  if (config.loss_chunk == 0 && resumes && std::filesystem::exists(begun)) {
    config.loss_chunk = parse_run_config(begun, {}).loss_chunk;
  }
  return config;
}

// Rank 0 chooses: where hosts differ, each might choose otherwise, and then ranks would wait for each other in vain.
// `config` gets the chunks of logits that were chosen.
Techniques agreed_techniques(const OpTable& ops, RunConfig& config, const Worker& worker, Communicator& world) {
  std::string chosen;
  if (world.rank() == 0) {
    const Techniques t = fit(ops, config, worker);
    chosen = fmt::format("{} {} {} {} {}", static_cast<int>(t.recompute.mode), t.recompute.steps,
                         t.offload.what.count(Offloaded::activations), t.offload.what.count(Offloaded::states),
                         t.loss_chunk);
  }
  chosen = broadcast_text(world, chosen, 0);
  Techniques t;
  int mode = 0;
  int activations = 0;
  int states = 0;
  const int fields = std::sscanf(chosen.c_str(), "%d %zu %d %d %" SCNd64, &mode, &t.recompute.steps, &activations,
                                 &states, &t.loss_chunk);
  CHECK(fields == 5, "rank 0 chose {}", chosen);
  config.loss_chunk = t.loss_chunk;
  t.recompute.mode = static_cast<RecomputeChoice::Mode>(mode);
  t.recompute.rates = machine_rates(worker, config.precision);
  if (activations > 0) t.offload.what.insert(Offloaded::activations);
  if (states > 0) t.offload.what.insert(Offloaded::states);
  return t;
}

}  // namespace

Trainer::Trainer(const OpTable& ops, RunConfig config, const TrainOptions& options)
    : ops_(ops),
      config_(with_loss_chunk_of(std::move(config), options.start != TrainOptions::Start::fresh)),
      options_(options),
      status_(options.status == nullptr ? nobody_looks_ : *options.status),
      world_(options.world == nullptr ? alone_ : *options.world),
      worker_(worker_of(config_, options_, world_)),
      techniques_(agreed_techniques(ops_, config_, worker_, world_)),
      program_(verified(training_program(ops_, config_, worker_, techniques_), ops_)),
      program_hash_(hash_of(training_program(ops_, config_, 1, "precision"))),
      progress_(leads() ? options_.log : nullptr, options_.progress, config_.log_every) {
  config_.device = name_of(worker_.device);
  world_.set_deadline(kAloneDeadline);
  require_work_for(config_, world_.ranks());
  require_memory(ops_, config_, worker_, program_, available_bytes(worker_.device) / neighbours(world_));
  require_room_offloaded(worker_, program_, world_.ranks(), config_.out);
  if (leads()) claim_output_directory();
  open_data();
  require_sample_prompt(config_, corpus_->tokenizer);  // refused now, not after the training
  compare_beginnings();
  feed_.emplace(*corpus_, config_);
  machine_ = make_machine(program_, ops_, machine_options());
  if (config_.validation_every > 0) {
    MachineOptions borrowing = machine_options();
    borrowing.lender = machine_.get();
    evaluator_ = make_machine(verified(validation_program(ops_, config_, worker_), ops_), ops_, borrowing);
  }
  start_or_resume();
}

MachineOptions Trainer::machine_options() const {
  MachineOptions options = worker_.machine_options();
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
  if (world_.ranks() == 1) return;
  uint64_t hash = 0;
  for (const TensorPart& part : tensor_parts(program_)) {
    const Buffer& buffer = program_.buffer(part.buffer);
    if (buffer.shard || part.kind != BufferKind::parameter) continue;
    elements_of(*machine_, buffer.name, part.at, part.elements()).stream([&](std::span<const std::byte> bytes) {
      hash = XXH3_64bits_withSeed(bytes.data(), bytes.size(), hash);
    });
  }
  compare_ranks("copy of the weights", fmt::format("{:016x}", hash));
}

Trainer::~Trainer() = default;

void Trainer::refuse_other_runs() const {
  const bool has_checkpoints = !list_checkpoints(config_.out).empty();
  if (!resumes() && has_checkpoints) {
    user_error(
        "{} holds the checkpoints of an earlier run; continue it with 'centavo resume {}' or choose another "
        "directory with out=DIR",
        config_.out, config_.out);
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
  barrier(world_);  // a run has begun when no rank can refuse it any more
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

}  // namespace centavo
