// What stands for a run when its ops are timed: the same step of fewer micro-batches, and of fewer layers.
#pragma once

#include <cstdint>

#include "program/op_table.h"
#include "program/program.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo {

struct RunProbe {
  RunConfig config;
  Program program;
};

// At most three micro-batches (first, middle, last; as many as the run has under grad_sum = "tree"). On a processor at
// most four layers; on a GPU all of them, since under its power limit an op takes as long as the clock lets it, which
// the mix of ops decides: with a third of the layers the head, all products, slows the others down. Fewer layers where
// these do not fit. What the run recomputes or offloads, by name or to keep to its budget, the probe does with as large
// a share of its layers. So the ops of the run's step are there in the same shapes, but, with fewer layers, for a few
// short ones whose shape grows with them: those of the unit of all norms, and sums over all tensors. Throws OutOfMemory
// when one layer needs more than `memory_bytes`.
RunProbe probe_of_run(const OpTable& ops, const RunConfig& config, const Worker& worker, int64_t memory_bytes);

}  // namespace centavo
