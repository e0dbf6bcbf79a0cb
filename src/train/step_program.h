// From a run config to the programs that the machine runs: the passes, in order.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "program/op_table.h"
#include "program/program.h"
#include "train/run_config.h"

namespace centavo {

// forward, differentiate, optimize, precision, sections, workspaces, place.
const std::vector<std::string>& pass_names();

// The training step after the pass `last`; throws UserError for an unknown pass. Up to `sections` the text does not
// depend on the machine; `threads` sizes the workspaces.
Program training_program(const OpTable& ops, const RunConfig& config, int threads, const std::string& last = "place");

// One validation batch; its parameters are borrowed from the training program.
Program evaluation_program(const OpTable& ops, const RunConfig& config, int threads);

// `new_tokens` tokens of one sequence; parameters are borrowed, and with `borrow_cache` the caches as well.
Program decoding_program(const OpTable& ops, const RunConfig& config, int threads, int64_t new_tokens, int64_t max_len,
                         bool borrow_cache);

// Micro-batches the token rings hold: those of this step and of the next.
int64_t token_slots(const RunConfig& config);

}  // namespace centavo
