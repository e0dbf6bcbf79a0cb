#include "train/step_program.h"

#include <algorithm>

#include "base/nearest.h"
#include "machine/cpu/guard.h"
#include "passes/differentiate.h"
#include "passes/edges.h"
#include "passes/fuse_replays.h"
#include "passes/fuse_swiglu.h"
#include "passes/optimize.h"
#include "passes/place.h"
#include "passes/precision.h"
#include "passes/schedule.h"
#include "passes/sections.h"
#include "passes/units.h"
#include "train/fit.h"
#include "train/throughput.h"

namespace centavo {
namespace {

// Every token may begin a document, or only a sequence does.
BatchShape packed_batch(const RunConfig& c, int64_t slots) {
  const bool joined = c.documents == "joined";
  const int64_t most = joined ? c.micro_batch : c.micro_batch * c.seq_len;
  return {.sequences = c.micro_batch, .seq_len = c.seq_len, .max_docs = most, .uniform = joined, .slots = slots};
}

GradSum grad_sum_of(const RunConfig& c) { return c.grad_sum == "tree" ? GradSum::tree : GradSum::chain; }

// Partial sums of a tree wait in f32, whatever the gradients are.
PrecisionPolicy training_policy(const RunConfig& c) {
  PrecisionPolicy policy = precision_policy(c.precision);
  if (grad_sum_of(c) == GradSum::tree) policy.gradient = accumulator_of(policy.gradient);
  return policy;
}

// What the passes of a training program are told.
struct Request {
  const OpTable& ops;
  const RunConfig& config;
  const Worker& worker;
  const Techniques& techniques;
};

Program forward_of(const Request& r) {
  const BatchShape batch = packed_batch(r.config, token_slots(r.config, r.worker.mesh.ranks()));
  const int64_t decided = r.techniques.loss_chunk;
  return training_forward(r.ops, r.config.model, batch,
                          decided > 0 ? decided : loss_chunk_of(r.config, r.worker.device));
}

OptimizerSettings optimizer_of(const RunConfig& c) { return {c.beta1, c.beta2, c.eps, c.weight_decay, c.clip_norm}; }

ShardChoice cuts_of(const Request& r) {
  return {r.worker.mesh, r.worker.rank, shard_rule(r.config.shard), grad_sum_of(r.config)};
}

Program sections_of(Program p, const Request& r) {
  return sections(std::move(p), r.ops, micro_batches_of(r.config, r.worker.mesh.ranks()), grad_sum_of(r.config));
}

int64_t red_zone_of(const Worker& worker) { return worker.debug ? kRedZoneBytes : 0; }

struct NamedPass {
  const char* name;
  Program (*run)(Program, const Request&);
};

constexpr NamedPass kPasses[] = {
    {"forward", [](Program, const Request& r) { return forward_of(r); }},  // NOLINT: one type for all
    {"differentiate", [](Program p, const Request& r) { return differentiate(std::move(p), r.ops); }},
    {"units", [](Program p, const Request& r) { return units(std::move(p), r.ops); }},
    {"optimize", [](Program p, const Request& r) { return optimize(std::move(p), r.ops, optimizer_of(r.config)); }},
    {"precision",
     [](Program p, const Request& r) { return precision(std::move(p), r.ops, training_policy(r.config)); }},
    {"fuse_swiglu", [](Program p, const Request&) { return fuse_swiglu(std::move(p)); }},
    {"recompute", [](Program p, const Request& r) { return recompute(std::move(p), r.ops, r.techniques.recompute); }},
    {"fuse_replays", [](Program p, const Request&) { return fuse_replays(std::move(p)); }},
    {"fuse_swiglu_grad", [](Program p, const Request&) { return fuse_swiglu_grad(std::move(p)); }},
    {"offload", [](Program p, const Request& r) { return offload(std::move(p), r.techniques.offload); }},
    {"shard", [](Program p, const Request& r) { return shard(std::move(p), r.ops, cuts_of(r)); }},
    {"sections", [](Program p, const Request& r) { return sections_of(std::move(p), r); }},
    {"schedule", [](Program p, const Request& r) { return schedule(std::move(p), r.ops, {r.config.prefetch}); }},
    {"workspaces", [](Program p, const Request& r) { return add_workspaces(std::move(p), r.ops, r.worker.traits()); }},
    {"place",
     [](Program p, const Request& r) {
       return derive_edges(place(std::move(p), {.red_zone_bytes = red_zone_of(r.worker), .borrow = {}}), r.ops);
     }},
};

Program placed_for(const Inference& inference, const OpTable& ops, Program program) {
  if (inference.in_units) program = units(std::move(program), ops);
  program = fuse_swiglu(precision(std::move(program), ops, precision_policy(inference.precision)));
  if (inference.in_units) {
    const Worker& worker = inference.worker;
    program = shard(std::move(program), ops, {worker.mesh, worker.rank, shard_rule(inference.shard), GradSum::chain});
    program = schedule(std::move(program), ops);
  }
  program = add_workspaces(std::move(program), ops, inference.worker.traits());
  return derive_edges(
      place(std::move(program), {.red_zone_bytes = red_zone_of(inference.worker), .borrow = inference.borrowed}), ops);
}

// Ranks of a host, where hosts hold blocks of equally many neighbours; else all: then there is no node to cut over.
int64_t ranks_per_node(const Communicator& world) {
  int64_t local = 1;
  while (local < world.ranks() && world.host_of(local) == world.host_of(0)) ++local;
  for (int64_t a = 0; a < world.ranks(); ++a) {
    for (int64_t b = 0; b < a; ++b) {
      const bool together = world.host_of(a) == world.host_of(b);
      if (world.ranks() % local != 0 || together != (a / local == b / local)) return world.ranks();
    }
  }
  return local;
}

}  // namespace

int64_t default_loss_chunk(DeviceKind device) { return device == DeviceKind::cuda ? 8192 : 1024; }

int64_t loss_chunk_of(const RunConfig& config, DeviceKind device) {
  return config.loss_chunk > 0 ? config.loss_chunk : default_loss_chunk(device);
}

Techniques techniques_of(const RunConfig& config) {
  Techniques techniques{.recompute = recompute_choice(config.recompute)};
  const bool all = config.offload == "all";
  if (all || config.offload == "activations") techniques.offload.what.insert(Offloaded::activations);
  if (all || config.offload == "states") techniques.offload.what.insert(Offloaded::states);
  return techniques;
}

Worker::Worker(int thread_count, Communicator& world)
    : threads(thread_count),
      mesh{world.ranks() / ranks_per_node(world), ranks_per_node(world)},
      rank(world.rank()),
      communicator(&world) {}

void Worker::use(const std::string& wanted, bool deterministic) {
  const DeviceChoice choice = choose_device(wanted, mesh.ranks());
  device = choice.device;
  device_note = choice.note;
  if (device == DeviceKind::cuda) {
    gpu = planned_gpu();
    gpu_name = planned_gpu_name();
  }
  gpu.deterministic = deterministic;
}

MachineTraits Worker::traits() const {
  if (device == DeviceKind::cuda) return gpu;
  return CpuTraits{threads};
}

MachineOptions Worker::machine_options() const {
  return {.device = device,
          .threads = threads,
          .deterministic = gpu.deterministic,
          .debug = debug,
          .communicator = communicator,
          .tuning_directory = tuning_directory};
}

const std::vector<std::string>& pass_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const NamedPass& pass : kPasses) all.emplace_back(pass.name);
    return all;
  }();
  return names;
}

int64_t micro_batches_of(const RunConfig& config, int64_t ranks) {
  return (config.grad_accum_steps + ranks - 1) / ranks;
}

double run_step_flops(const OpTable& ops, const RunConfig& config) {
  Program program = training_program(ops, config, 1, Techniques(), "precision");
  program.step.front().times = config.grad_accum_steps;  // `micro`
  return step_flops(program, ops);
}

int64_t token_slots(const RunConfig& config, int64_t ranks) { return 2 * micro_batches_of(config, ranks); }

Program training_program(const OpTable& ops, const RunConfig& config, const Worker& worker, const std::string& last) {
  const auto at = [](const std::string& pass) { return std::ranges::find(pass_names(), pass); };
  const bool open = config.loss_chunk == 0 && !config.memory.empty();
  const bool matters = open || at(last) >= at("recompute");
  return training_program(ops, config, worker, matters ? fit(ops, config, worker) : Techniques(), last);
}

Program training_program(const OpTable& ops, const RunConfig& config, const Worker& worker,
                         const Techniques& techniques, const std::string& last) {
  if (std::ranges::find(pass_names(), last) == pass_names().end()) {
    user_error("there is no pass '{}'; the passes are {}{}", last, fmt::join(pass_names(), ", "),
               did_you_mean(last, pass_names()));
  }
  Program program;
  for (const NamedPass& pass : kPasses) {
    program = pass.run(std::move(program), {ops, config, worker, techniques});
    if (pass.name == last) break;
  }
  return program;
}

Program evaluation_program(const OpTable& ops, const ModelConfig& model, const Inference& inference,
                           const BatchShape& batch, int64_t loss_chunk) {
  return placed_for(inference, ops, evaluation(ops, model, batch, loss_chunk));
}

Program validation_program(const OpTable& ops, const RunConfig& c, const Worker& worker) {
  return evaluation_program(ops, c.model, {c.precision, worker, true, c.shard, {BufferKind::parameter}},
                            packed_batch(c, 1),
                            std::min(loss_chunk_of(c, worker.device), default_loss_chunk(worker.device)));
}

Program decoding_program(const OpTable& ops, const ModelConfig& model, const Inference& inference, int64_t new_tokens,
                         int64_t max_len) {
  return placed_for(inference, ops, decoding(ops, model, 1, new_tokens, max_len));
}

}  // namespace centavo
