// A training program that is run to be timed: random parameters, random tokens, each sequence one document. Random,
// because what computes with zeros may be faster than what users run.
#pragma once

#include <cstdint>

#include "machine/machine.h"
#include "train/run_config.h"

namespace centavo {

// Parameters, seed and learning rate, before the first step.
void begin_random_run(Machine& machine, const RunConfig& config);

// The tokens of all micro-batches, the same for the same key. Call it for each step that is to see others.
void feed_random_tokens(Machine& machine, const RunConfig& config, uint64_t key);

}  // namespace centavo
