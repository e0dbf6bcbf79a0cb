#include "machine/cuda/gpu_rates.h"

#include <algorithm>
#include <memory>

#include "machine/cuda/gpu.h"
#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

constexpr size_t kBytes = size_t{1} << 30;
constexpr double kSeconds = 0.5;

struct FreeDevice {
  void operator()(void* memory) const { cudaFree(memory); }
};
struct FreeHost {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};
using DeviceMemory = std::unique_ptr<void, FreeDevice>;
using HostMemory = std::unique_ptr<void, FreeHost>;

DeviceMemory device_memory() {
  void* memory = nullptr;
  cuda_check(cudaMalloc(&memory, kBytes), "allocating memory to copy");
  return DeviceMemory(memory);
}

HostMemory host_memory() {
  void* memory = nullptr;
  cuda_check(cudaHostAlloc(&memory, kBytes, cudaHostAllocDefault), "allocating pinned memory to copy");
  return HostMemory(memory);
}

// A stream with two events, for copies that are timed.
class CopyTimer {
 public:
  CopyTimer() {
    cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    cuda_check(cudaEventCreate(&begin_), "making an event");
    cuda_check(cudaEventCreate(&end_), "making an event");
  }
  CopyTimer(const CopyTimer&) = delete;
  CopyTimer& operator=(const CopyTimer&) = delete;
  ~CopyTimer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }

  // Copied bytes a second.
  double rate(void* to, const void* from) const {
    double best = seconds_of_copy(to, from);
    for (double spent = best; spent < kSeconds;) {
      const double seconds = seconds_of_copy(to, from);
      best = std::min(best, seconds);
      spent += seconds;
    }
    return static_cast<double>(kBytes) / best;
  }

 private:
  double seconds_of_copy(void* to, const void* from) const {
    cuda_check(cudaEventRecord(begin_, stream_), "timing a copy");
    cuda_check(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDefault, stream_), "copying");
    cuda_check(cudaEventRecord(end_, stream_), "timing a copy");
    cuda_check(cudaStreamSynchronize(stream_), "copying");
    float milliseconds = 0;
    cuda_check(cudaEventElapsedTime(&milliseconds, begin_, end_), "timing a copy");
    return milliseconds * 1e-3;
  }

  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

}  // namespace

GpuRates measured_gpu_rates() {
  open_gpu(0);
  const DeviceMemory from = device_memory();
  const DeviceMemory to = device_memory();
  const HostMemory host = host_memory();
  const CopyTimer timer;
  return {.copy_bytes_per_second = 2 * timer.rate(to.get(), from.get()),
          .to_device_bytes_per_second = timer.rate(to.get(), host.get()),
          .to_host_bytes_per_second = timer.rate(host.get(), from.get())};
}

}  // namespace centavo
