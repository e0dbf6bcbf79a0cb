// Data parallelism: R ranks take different micro-batches of a step, and what need not be kept R times is cut.
//
// A rank computes gradients from its own tokens; they are summed over ranks, and every rank must end the step with the
// same weights. The plain form (DDP) keeps everything on every rank and sums the gradients: 18 bytes a parameter with
// bf16 weights and an fp32 master, R times. ZeRO observes that a rank needs the optimizer state only of the parameters
// it updates, the summed gradient only of the same, and a weight only while a layer computes. So each is cut over
// ranks:
//
//   row          weights  gradients  states
//   ddp          whole    whole      whole
//   zero1        whole    whole      all
//   zero2        whole    all        all
//   zero3        all      all        all
//   hybrid       local    local      local
//   hybrid-full  local    all        all
//
// What moves, in parameters per rank and step of one micro-batch: ddp the sum of the gradients, 2; zero1 a
// reduce-scatter of the gradients once a step and a gather of the new weights, 2; zero2 the same with gradients every
// micro-batch, into a cut sum; zero3 a gather in the forward, one again in the backward and a reduce-scatter, 3, every
// micro-batch; hybrid is zero3 inside a node, with sums of cut gradients between nodes.
//
// Ranks form a mesh; `local` cuts over the ranks of a node, `all` over all of them (passes/mesh_cuts.h, where gathers
// and reductions are). Cuts are even: a unit (passes/units.h) is padded to a multiple of R norm blocks. The weights of
// the units `vectors` and `norms` are small and stay whole.
//
// The pass works on section `micro`, where each op stands once, and on `update`:
//   * a cut weight is a flat shard; the unit becomes a buffer that an all_gather fills before the first use in the
//     forward and again in the backward (not where fewer than two other units are used between the two);
//   * a gradient is reduced as soon as its last contribution is written. Where it is cut (or summed as a tree) that
//     happens in every micro-batch and the shard is the sum over micro-batches; else the rank sums its micro-batches
//     in place and the reduction has stage `update`;
//   * norms, AdamW and states work on a rank's own part; where weights are whole, they are gathered in place behind it.
// Ops are issued in lane `compute`; passes/schedule.h gives gathers and reductions lanes of their own.
// Gathers and reductions read and write where the computation reads and writes: no copy in or out. Loss and token count
// are summed over ranks; partial norms are gathered, so that every rank clips alike.
//
// Order of sums: passes/sections.h. With `tree`, or one micro-batch a rank, no bit depends on the row; with `tree` and
// R a power of two none depends on R. With `chain` rows that reduce once a step and those that reduce every micro-batch
// differ in rounding.
//
// Sources: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020; Zhao et
// al., "PyTorch FSDP", 2023 (hybrid sharding); Yandex, YaFSDP, 2024 (one flat buffer a layer).
#pragma once

#include <string>
#include <vector>

#include "passes/mesh_cuts.h"
#include "passes/sections.h"
#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

struct ShardRule {
  Cut weights = Cut::whole;
  Cut gradients = Cut::whole;  // or as the states
  Cut states = Cut::whole;
  bool operator==(const ShardRule&) const = default;
};

// The rows of the table, by name; UserError for another name.
const std::vector<std::string>& shard_rule_names();
ShardRule shard_rule(const std::string& name);

struct ShardChoice {
  Mesh mesh;
  int64_t rank = 0;
  ShardRule rule = {};
  GradSum grad_sum = GradSum::chain;
};

// For a program of one micro-batch with units, with or without `update` (evaluation and decoding: weights alone are
// cut). With one rank nothing changes, except that a tree needs the gaps of gradients filled in every micro-batch.
Program shard(Program program, const OpTable& ops, const ShardChoice& choice);

}  // namespace centavo
