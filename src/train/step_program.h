// From a run config to the programs that the machine runs: the passes, in order.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/communicator.h"
#include "machine/make_machine.h"
#include "model/programs.h"
#include "passes/offload.h"
#include "passes/recompute.h"
#include "passes/shard.h"
#include "program/op_table.h"
#include "program/program.h"
#include "train/run_config.h"

namespace centavo {

// The process that a program is for: its threads, its place among the ranks of a run, and the device that computes.
struct Worker {
  Worker(int thread_count) : threads(thread_count) {}  // NOLINT: a world of one
  Worker(int thread_count, const Mesh& of_ranks, int64_t own_rank)
      : threads(thread_count), mesh(of_ranks), rank(own_rank) {}
  // Ranks whose hosts hold equally many neighbours form a mesh of nodes. The communicator must outlive what is made.
  Worker(int thread_count, Communicator& world);

  // The processor until told otherwise. `wanted` as in choose_device, for the ranks of the mesh.
  void use(const std::string& wanted, bool deterministic = false);
  MachineTraits traits() const;
  MachineOptions machine_options() const;

  int threads = 1;
  Mesh mesh;
  int64_t rank = 0;
  Communicator* communicator = nullptr;  // null: alone
  DeviceKind device = DeviceKind::cpu;
  std::string device_note = {};       // as in DeviceChoice
  CudaTraits gpu = {};                // where that is the device
  std::string gpu_name = {};          // as its maker calls it; empty: not known
  std::string tuning_directory = {};  // as in MachineOptions
  bool debug = false;                 // programs are placed with red zones, machines run them op by op and check
};

// What is done to need less memory, beside cutting over ranks.
struct Techniques {
  RecomputeChoice recompute = {};
  OffloadChoice offload = {};
  int64_t loss_chunk = 0;  // tokens whose logits are held at a time; 0: loss_chunk_of the run
};

// Tokens whose logits are held at a time where neither run file nor budget decide: 1024 on processors; on GPUs, whose
// products need rows, 8192.
int64_t default_loss_chunk(DeviceKind device);
int64_t loss_chunk_of(const RunConfig& config, DeviceKind device);

// What the run file asks for by name; a budget (`memory`) may ask for more (train/fit.h).
Techniques techniques_of(const RunConfig& config);

// The passes of docs/decisions/0003-passes.md, in order.
const std::vector<std::string>& pass_names();

// The training step after the pass `last`; throws UserError for an unknown pass. Up to `precision` the text depends on
// the run alone, once its loss_chunk is decided; up to `schedule` not on the machine either; the worker's traits size
// the workspaces.
Program training_program(const OpTable& ops, const RunConfig& config, const Worker& worker,
                         const std::string& last = "place");
Program training_program(const OpTable& ops, const RunConfig& config, const Worker& worker,
                         const Techniques& techniques, const std::string& last = "place");

// Micro-batches of a step that one of `ranks` ranks computes; the last ones may be empty on some.
int64_t micro_batches_of(const RunConfig& config, int64_t ranks);

// How a model runs outside training.
struct Inference {
  std::string precision = "fp32";
  Worker worker = 1;
  bool in_units = false;  // weights lie as a training program lays them (passes/units.h), cut as `shard` says
  std::string shard = "ddp";
  std::set<BufferKind> borrowed = {};  // kinds whose memory is another machine's: its parameters, its caches
};

// Loss and count of one batch; `loss_chunk` tokens have their logits held at a time.
Program evaluation_program(const OpTable& ops, const ModelConfig& model, const Inference& inference,
                           const BatchShape& batch, int64_t loss_chunk);

// The same for a batch of the run's validation, with the logits of no more tokens than the default at a time; the
// parameters are the training program's.
Program validation_program(const OpTable& ops, const RunConfig& config, const Worker& worker);

// Logits of up to `new_tokens` tokens of one sequence, with caches of `max_len` positions.
Program decoding_program(const OpTable& ops, const ModelConfig& model, const Inference& inference, int64_t new_tokens,
                         int64_t max_len);

// Floating-point operations of a step of the run, over all ranks, without what is computed a second time.
double run_step_flops(const OpTable& ops, const RunConfig& config);

// Micro-batches the token rings of a rank hold: those of this step and of the next.
int64_t token_slots(const RunConfig& config, int64_t ranks = 1);

}  // namespace centavo
