// Finds where a step went wrong. `clip` has seen that loss or gradient norm is not finite and the optimizer has written
// nothing, so the step can be run again, op by op, from the same weights and tokens.
#pragma once

#include <string>

#include "machine/machine.h"
#include "program/op_table.h"

namespace centavo {

struct NonFinite {
  bool found = false;
  int64_t micro_batch = 0;
  std::string op;        // as the program's text has it
  int64_t layer = -1;    // of the op; -1: outside the layers
  std::string buffer;    // the output that holds the value
  int64_t element = 0;   // the first
  int64_t elements = 0;  // how many
};

// Of the outputs of the op that has just run. What a collective brings is another rank's.
NonFinite non_finite_output(const Machine& machine, const OpTable& ops, int64_t call, const Section& section,
                            const Op& op);

// Replays step `step` (the one just run) of `micro_batches` section calls;
// the counters end where they were.
NonFinite find_non_finite(Machine& machine, const OpTable& ops, int64_t step, int64_t micro_batches);

}  // namespace centavo
