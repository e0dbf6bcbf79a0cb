#include "train/gpu_monitor.h"

#include <utility>

#include "train/progress.h"

namespace centavo {
namespace {

// Between two readings; clocks and reasons are taken to have been those of the second all the time.
GpuUse between(const GpuReading& before, const GpuReading& now, double seconds) {
  GpuUse use;
  use.seconds = seconds;
  if (now.joules && before.joules) {
    use.joules = *now.joules - *before.joules;
  } else if (now.watts) {
    use.joules = *now.watts * seconds;
  }
  use.sm_mhz = now.sm_mhz;
  use.memory_mhz = now.memory_mhz;
  use.celsius = now.celsius;
  if (!now.slowed_by) return use;
  use.slowed_seconds = 0;
  for (int bit = 0; bit < kSlowDownBits; ++bit) {
    const char* name = slow_down_name(bit);
    if (name == nullptr || (*now.slowed_by >> bit & 1) == 0) continue;
    use.slowed[name] = seconds;
    use.slowed_seconds = seconds;
  }
  return use;
}

}  // namespace

GpuMonitor::GpuMonitor(std::unique_ptr<Nvml> nvml, Interval interval)
    : nvml_(std::move(nvml)), interval_(interval), last_(nvml_->read()), last_time_(steady_seconds()), thread_([this] {
        watch();
      }) {}

GpuMonitor::~GpuMonitor() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ends_.notify_all();
  thread_.join();
}

void GpuMonitor::watch() {
  std::unique_lock lock(mutex_);
  while (!ends_.wait_for(lock, interval_, [this] { return ended_; })) {
    lock.unlock();
    read();
    lock.lock();
  }
}

// The driver is asked without the lock: it may take milliseconds.
void GpuMonitor::read() {
  const GpuReading now = nvml_->read();
  const double time = steady_seconds();
  const std::lock_guard lock(mutex_);
  if (time <= last_time_) return;  // another reading was faster
  const GpuUse use = between(last_, now, time - last_time_);
  recent_.add(use);
  all_.add(use);
  last_ = now;
  last_time_ = time;
}

GpuUse GpuMonitor::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(recent_, GpuUse());
}

GpuUse GpuMonitor::all() {
  read();
  const std::lock_guard lock(mutex_);
  return all_;
}

}  // namespace centavo
