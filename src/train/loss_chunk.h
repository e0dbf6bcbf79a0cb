// How many tokens lm_head_loss holds the logits of at a time (ops/lm_head_loss), where the run file leaves it open.
//
// Few take little memory and cost time. With N tokens in k chunks, a head of V x C and elements of dh as in products:
//   dweight   every chunk but the first reads and writes the f32 sum once more, 8 V C bytes; a bf16 gradient of several
//             chunks is summed apart and rounded at the end, 8 V C bytes besides
//   dh        on a GPU of M multiprocessors, [chunk, C] is cut into tiles of 128 x 256, M of which run at a time: a
//   wave
//             that is not full, the last, takes as long as a full one
//
// The order of dweight's sums follows the chunks, so its last bits do.
#pragma once

#include <cstdint>
#include <vector>

#include "passes/recompute.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo {

// What the worker's device reaches, for the prices of replays and chunks in a run of this precision: of a GPU the
// ceilings of its name or architecture (machine/virtual/cost_source.h), its attention at 0.55 of them. So a plan made
// beside a GPU and one made without it by the same name agree.
MachineRates machine_rates(const Worker& worker, const std::string& precision);

struct LossChunk {
  int64_t tokens = 0;
  double us = 0;  // of a micro-batch, what it costs beside the products at their full rate
};

LossChunk priced_loss_chunk(const RunConfig& config, const Worker& worker, int64_t tokens);

// Those that a budget chooses from, cheapest first: all tokens of a micro-batch on a GPU, the default on a processor,
// and halves of it.
std::vector<LossChunk> loss_chunks(const RunConfig& config, const Worker& worker);

}  // namespace centavo
