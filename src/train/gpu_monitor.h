// Watches a GPU through NVML from a thread of its own, about once a second: a step neither waits for it nor is slowed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "base/nvml.h"
#include "train/gpu_use.h"

namespace centavo {

class GpuMonitor {
 public:
  using Interval = std::chrono::milliseconds;
  // `nvml` must have no refusal.
  explicit GpuMonitor(std::unique_ptr<Nvml> nvml, Interval interval = Interval(1000));
  ~GpuMonitor();
  GpuMonitor(const GpuMonitor&) = delete;
  GpuMonitor& operator=(const GpuMonitor&) = delete;

  // What has been seen since the last call, up to the last reading.
  GpuUse take();
  // All since the beginning, up to now. Reads the GPU.
  GpuUse all();

 private:
  void watch();
  void read();

  std::unique_ptr<Nvml> nvml_;
  Interval interval_;
  std::mutex mutex_;  // for all below
  std::condition_variable ends_;
  bool ended_ = false;
  GpuReading last_;
  double last_time_ = 0;
  GpuUse recent_;
  GpuUse all_;
  std::thread thread_;  // last: it sees the others
};

}  // namespace centavo
