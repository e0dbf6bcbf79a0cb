// A forecast as people and programs read it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "machine/virtual/cost_source.h"
#include "train/forecast.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo {

// The predicted step by kind of op and by lane, tokens/s, time and money to the end, and where the costs come from; a
// line each. Kinds below a hundredth of the step share a row, so that the rows add up to the step.
std::vector<std::string> forecast_lines(const Forecast& forecast, const CostSource& costs);

// The same with the model and its memory, for `centavo plan --json`. Keys, which stay what they are:
//
//   format                 1
//   model                  parameters, precision
//   step                   tokens, micro_batches, flops (over all ranks), ranks, threads (of a rank)
//   memory                 device_bytes, host_bytes, regions: [kind, bytes, shares_addresses]; of a rank
//   costs                  source ("profile" or "prior"), device ("cpu" or "cuda"), machine,
//                          instead_of (the machine they stand for, null unless that is another),
//                          threads (of the processor),
//                          factor (a true time may be so many times longer or shorter; null with a profile),
//                          unmeasured: signatures that had no sample
//   predicted              step_seconds, floor_seconds, tokens_per_second,
//                          kinds: [kind, calls, seconds, share, floor_seconds], the longest first,
//                          lanes: [lane, busy_seconds, idle_seconds]
//   run                    steps, tokens, seconds, training_seconds, validations, validation_seconds, checkpoints,
//                          checkpoint_seconds, dollars (null without a price), not_counted: in words
nlohmann::ordered_json forecast_json(const OpTable& ops, const RunConfig& config, const Worker& worker,
                                     const Program& training, const Forecast& forecast, const CostSource& costs);

// The predicted times beside those of a step that was measured op by op, and their relative error, a line each.
// `step_seconds` is what steps took from beginning to end, reading of tokens included.
std::vector<std::string> comparison_lines(const Forecast& forecast, const std::vector<Span>& measured,
                                          double step_seconds);

}  // namespace centavo
