// Activation checkpointing: memory bought with computing.
//
// Between the last forward op and the first backward op of a micro-batch lives everything the backward will read. That
// is most of what training holds besides the weights: about 16 tensors the size of the residual stream per Llama layer.
// This pass drops some of them after the forward and computes them a second time, layer by layer, shortly before the
// backward reads them. Of L layers then only one holds its tensors at a time.
//
//   forward    gate_up = linear(h, w)           %7
//   forward    s = swiglu(gate_up)              %8     the memory of `s` is free from its last forward reader on
//   backward   s = swiglu(gate_up)  of=%8       %41    the replay: same buffer, same random numbers, same bits
//   backward   dw = linear_dw(dy, s)            %23
//
// * A replay is a copy of the original that writes the same buffers, with the original's logical id. Each write begins
//   a new life of a buffer (program/lifetime.h), so `place` sees the short lives by itself and no op is rewired.
// * Tensor t is dropped by replaying every op that writes or adds to it, with all that these need and that is neither
//   kept nor always alive. Replays stand right before the first backward op that reads what they make.
// * Some ops have a shorter form that starts from one of their own kept outputs (OpDef::short_replay): the fused
//   addition and norm h, rstd, sum = rmsnorm(x, delta) is replayed as rmsnorm(sum) as long as `sum` is kept, and
//   gate_up, s = linear_swiglu(h, w) as s = swiglu(gate_up).
// * Replays never cross layers. What a layer takes in (the residual stream, `sum` of its first norm) is kept: were it
//   replayed from the layer below, the last layer's backward would first replay the whole model and hold all of it,
//   and nothing would be saved. This is Chen's segmentation, with a layer as the segment.
// * Never replayed: ops outside the layers, of other lanes, in place, ops that write anything but activations, and ops
//   whose inputs another op changes later.
//
// Which tensors: either a mode or the first n steps of a ladder, from which `fit` picks the shortest that fits.
//
//   cheap      what ops without a matrix product give back from kept tensors: norms, swiglu, gelu; a few percent of
//              the time
//   attention  and attention's output and lse. Rotated queries, keys and values stay kept, for they lie behind a
//              product: selective recomputation (Korthikanti)
//   full       everything but what enters the layers; about one forward more, a third of the computing
//   steps      greedy: again and again the tensor that saves most bytes per microsecond of replay, given what is
//              replayed already
//
// The result has the same bits as without. Section `micro` only; runs after `precision` (bytes are those of the final
// dtypes) and before `shard` and `sections`. Only what lives across the border counts as saved: while a layer's
// backward runs, its replayed tensors are alive again, so the last few layers' steps may free nothing at the peak.
//
// Sources: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016; Korthikanti et al., "Reducing Activation
// Recomputation in Large Transformer Models", 2022 (selective recomputation).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

// What the price of a replay is estimated from: max(flops / flops_per_s, bytes / bytes_per_s). Only the ratios of the
// rates decide the order of the ladder. The defaults are those of a server CPU socket, 20 operations a byte.
//
// A replay that fuse_replays turns into a by-product of a gradient costs what that gradient does more: as a rule it
// writes one tensor. So it is priced where such a gradient stands in its layer; should the replay of something else
// keep it from being fused, it costs more.
struct MachineRates {
  double flops_per_s = 2e12;            // of matrix products
  double attention_flops_per_s = 2e12;  // of attention, which on GPUs is slower
  double bytes_per_s = 1e11;
};

struct RecomputeChoice {
  enum class Mode : uint8_t { none, cheap, attention, full, steps } mode = Mode::none;
  size_t steps = 0;  // mode steps: how many steps of the ladder; more than it has: all
  MachineRates rates;
};

// "none", "cheap", "attention" or "full"; throws UserError.
RecomputeChoice recompute_choice(const std::string& name);

// The program must have a section `micro`; what counts as backward is every op of another stage than forward.
Program recompute(Program program, const OpTable& ops, const RecomputeChoice& choice);

// How an op is replayed, in the order of what it gives back.
enum class ReplayForm : uint8_t { none, shortened, whole };

// One more tensor that need not be kept.
struct RecomputeStep {
  BufferId tensor = kNone;
  int32_t layer = -1;                         // that makes it and gives it back
  std::map<size_t, ReplayForm> replays = {};  // ops of `micro` by index, with the form that they get
  std::vector<BufferId> dropped = {};         // `tensor`, and what comes back with it
  int64_t bytes = 0;                          // of these, across the border
  double us = 0;                              // of the replays it adds, each micro-batch
};

// All steps of mode `steps` in their order, best first; ties: lower layer first.
std::vector<RecomputeStep> recompute_ladder(const Program& program, const OpTable& ops, const MachineRates& rates = {});

// What a choice does to a program that was not yet recomputed.
struct RecomputePlan {
  struct Kept {
    BufferId tensor = kNone;
    int32_t layer = -1;
    std::optional<RecomputeStep> instead;  // the step that would drop it; none when its layer cannot give it back
  };
  std::vector<RecomputeStep> steps;
  std::vector<Kept> kept;  // what still lives across the border
};
RecomputePlan recompute_plan(const Program& program, const OpTable& ops, const RecomputeChoice& choice);

}  // namespace centavo
