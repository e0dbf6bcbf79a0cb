#include "plan/run_probe.h"

#include <algorithm>
#include <optional>

#include "base/errors.h"
#include "plan/op_times.h"
#include "train/fit.h"

namespace centavo {
namespace {

constexpr int64_t kMostLayersOfProcessor = 4;
constexpr int64_t kMostMicroBatches = 3;

int64_t most_layers(const RunConfig& config, DeviceKind device) {
  const int64_t all = config.model.num_hidden_layers;
  return device == DeviceKind::cuda ? all : std::min(all, kMostLayersOfProcessor);
}

// Steps of the ladder are a tensor of a layer each, so they shrink as the layers do; some are left where there were
// any.
Techniques share_of(Techniques techniques, int64_t layers, int64_t of) {
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
  const auto of_layers = [&](int64_t layers) {
    probe.model.num_hidden_layers = layers;
    return training_program(ops, probe, worker, share_of(chosen, layers, all));
  };
  // The most layers that fit lie between `low`, which do, and `high`, which do not.
  int64_t low = 0;
  int64_t high = most_layers(config, worker.device) + 1;
  std::optional<RunProbe> fitting;
  int64_t needed = 0;
  for (int64_t layers = high - 1; high - low > 1; layers = (low + high) / 2) {
    Program program = of_layers(layers);
    needed = memory_needed(program, worker.device);
    if (needed <= memory_bytes) {
      low = layers;
      fitting = {probe, std::move(program)};
    } else {
      high = layers;
    }
  }
  if (fitting) return *std::move(fitting);
  throw OutOfMemory(fmt::format(
      "timing one layer of this run needs {} bytes and there are {}; use a smaller micro_batch", needed, memory_bytes));
}

}  // namespace centavo
