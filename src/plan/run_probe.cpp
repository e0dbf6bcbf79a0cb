#include "plan/run_probe.h"

#include <algorithm>

#include "base/errors.h"
#include "plan/op_times.h"
#include "train/fit.h"

namespace centavo {
namespace {

constexpr int64_t kMostLayers = 4;
constexpr int64_t kMostMicroBatches = 3;

// Steps of the ladder are a tensor of a layer each, so they shrink as the layers do; some are left where there were
// any.
Techniques of_layers(Techniques techniques, int64_t layers, int64_t of) {
  size_t& steps = techniques.recompute.steps;
  steps = (steps * static_cast<size_t>(layers) + static_cast<size_t>(of) - 1) / static_cast<size_t>(of);
  return techniques;
}

}  // namespace

RunProbe probe_of_run(const OpTable& ops, const RunConfig& config, const Worker& worker, int64_t memory_bytes) {
  const Techniques chosen = fit(ops, config, worker);
  const int64_t all = config.model.num_hidden_layers;
  RunConfig probe = config;
  if (config.grad_sum == "chain") probe.grad_accum_steps = std::min(config.grad_accum_steps, kMostMicroBatches);
  int64_t needed = 0;
  for (int64_t layers = std::min(all, kMostLayers); layers > 0; --layers) {
    probe.model.num_hidden_layers = layers;
    Program program = training_program(ops, probe, worker, of_layers(chosen, layers, all));
    needed = memory_needed(program, worker.device);
    if (needed <= memory_bytes) return {probe, std::move(program)};
  }
  throw OutOfMemory(fmt::format(
      "timing one layer of this run needs {} bytes and there are {}; use a smaller micro_batch", needed, memory_bytes));
}

}  // namespace centavo
