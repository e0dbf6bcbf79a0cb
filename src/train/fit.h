// The cheapest techniques whose placed program fits a memory budget.
//
// Candidates stand in the order of their price:
//   1. the first n steps of the recompute ladder (passes/recompute.h), the best time per byte first, n as small as
//      possible;
//   2. all of them, and what the backward still reads waits on the host (passes/offload.h);
//   3. optimizer states wait there as well.
// Each is built and placed; the arena of the placed program is what counts, no estimate of it. What the run file asks
// for by name (`recompute`, `offload`) is the least that is done; named modes of recompute take the ladder's place.
//
// Beside them stands loss_chunk (train/loss_chunk.h), where the run file leaves it open: of the chunks the one with
// which replays and chunks together cost least. Prices are those of the worker's device.
#pragma once

#include <cstdint>
#include <string>

#include "train/step_program.h"

namespace centavo {

// Without a budget what the run file asks for. loss_chunk is decided in either case. Throws OutOfMemory when no
// candidate fits: the least memory there is, its regions, and what would need less.
Techniques fit(const OpTable& ops, const RunConfig& config, const Worker& worker);

// For the table printed before a run: what was chosen and why, a line for each kind of tensor that the backward reads;
// nothing when there is no budget and no technique is used.
std::string techniques_table(const OpTable& ops, const RunConfig& config, const Worker& worker,
                             const Techniques& techniques);

}  // namespace centavo
