// What a run sees of its GPU, and how it looks at each op.

#include <utility>

#include "train/trainer.h"

namespace centavo {
namespace {

constexpr double kLogSeconds = 10;  // between two lines in the log

}  // namespace

OpObserver Trainer::look_at_each_op() {
  return [this](int64_t call, const Section& section, const Op& op) {
    const NonFinite where = non_finite_output(*machine_, ops_, call, section, op);
    if (where.found) stop_at_op(where);
  };
}

void Trainer::stop_at_op(const NonFinite& where) const {
  const std::string layer = where.layer < 0 ? "outside the layers" : fmt::format("layer {}", where.layer);
  user_error(
      "step {}, {}: {} wrote {} values that are not finite to {}, the first at [{}]; earlier checkpoints are as they "
      "were, start again with a lower learning_rate and another out=DIR",
      steps_done_, layer, where.op, where.elements, where.buffer, where.element);
}

// Without NVML the run is the same and says once what it does not know.
void Trainer::watch_gpu() {
  if (!leads() || worker_.device != DeviceKind::cuda) return;
  auto nvml = std::make_unique<Nvml>(gpu_bus_id(), options_.nvml);
  if (nvml->refusal().empty()) {
    gpu_monitor_.emplace(std::move(nvml));
  } else {
    progress_.line(fmt::format("gpu        power and clocks are not known: {}", nvml->refusal()));
  }
}

void Trainer::log_gpu() {
  if (!gpu_monitor_) return;
  gpu_use_.add(gpu_monitor_->take());
  if (gpu_use_.seconds >= kLogSeconds) log_gpu_use();
}

void Trainer::log_gpu_use() { run_log_->gpu({.step = steps_done_, .use = std::exchange(gpu_use_, GpuUse())}); }

// What the report will say, so the last seconds are logged before.
void Trainer::announce_gpu_use() {
  if (!gpu_monitor_) return;
  gpu_monitor_->all();
  gpu_use_.add(gpu_monitor_->take());
  if (gpu_use_.seconds > 0) log_gpu_use();
  const std::string text = gpu_use_text(run_log_->gpu_use());
  if (!text.empty()) progress_.line("gpu        " + text);
}

}  // namespace centavo
