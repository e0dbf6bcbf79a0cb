// What `centavo train --dry-run` prints: the plan of a run and what it finds of its data, without
// reading the text or writing anything.
#pragma once

#include <string>

#include "program/op_table.h"
#include "program/program.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo {

// Elements of all parameters.
int64_t parameter_count(const Program& program);

// The model, the step, the memory by region, what of the model is not trained or not exported, and on a GPU which
// attention runs; a line each. Which that is the machine
// knows; without one it is told as far as it is known ahead.
std::vector<std::string> plan_lines(const RunConfig& config, const Program& training, const Worker& worker,
                                    const Machine* machine = nullptr);

// One of several ranks that share this computer's cores, on the run's device.
Worker worker_here(const RunConfig& config, int64_t ranks);

// Builds and verifies the programs, checks that they fit into memory, and returns the plan with the data and the work
// of a step. Throws what a run would throw before it starts, but for what only the reading of the text tells.
// With several ranks the plan is that of each of them, on this computer.
std::vector<std::string> dry_run(const OpTable& ops, const RunConfig& config, int64_t ranks = 1);

// Throws UserError when there are more ranks than micro-batches in a step.
void require_work_for(const RunConfig& config, int64_t ranks);

}  // namespace centavo
