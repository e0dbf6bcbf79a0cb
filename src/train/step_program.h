// From a run config to the programs that the machine runs: the passes, in order.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "model/programs.h"
#include "program/op_table.h"
#include "program/program.h"
#include "train/run_config.h"

namespace centavo {

// The passes of docs/decisions/0003-passes.md, in order.
const std::vector<std::string>& pass_names();

// The training step after the pass `last`; throws UserError for an unknown pass. Up to `sections` the text does not
// depend on the machine; `threads` sizes the workspaces.
Program training_program(const OpTable& ops, const RunConfig& config, int threads, const std::string& last = "place");

// How a model runs outside training.
struct Inference {
  std::string precision = "fp32";
  int threads = 1;                // sizes the workspaces
  std::set<BufferKind> borrowed;  // kinds whose memory is another machine's: its parameters, its caches
};

// Loss and count of one batch; `loss_chunk` tokens have their logits held at a time.
Program evaluation_program(const OpTable& ops, const ModelConfig& model, const Inference& inference,
                           const BatchShape& batch, int64_t loss_chunk);

// The same for a batch of the run's validation; the parameters are the training program's.
Program validation_program(const OpTable& ops, const RunConfig& config, int threads);

// Logits of up to `new_tokens` tokens of one sequence, with caches of `max_len` positions.
Program decoding_program(const OpTable& ops, const ModelConfig& model, const Inference& inference, int64_t new_tokens,
                         int64_t max_len);

// Micro-batches the token rings hold: those of this step and of the next.
int64_t token_slots(const RunConfig& config);

}  // namespace centavo
