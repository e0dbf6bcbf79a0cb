#include "machine/cuda/gpu.h"

#include "base/gpus.h"
#include "machine/cuda/rings.h"
#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

constexpr const char* kNoGpu = "there is no NVIDIA GPU or no driver for it";

struct Count {
  int gpus = 0;
  std::string trouble;  // why there are none; kNoGpu: none is there
};

// Of the current GPU; empty when its code is there. A GPU that does not start is left to who opens it.
std::string missing_code() {
  int index = 0;
  cudaDeviceProp properties;
  const bool starts = cudaFree(nullptr) == cudaSuccess && cudaGetDevice(&index) == cudaSuccess &&
                      cudaGetDeviceProperties(&properties, index) == cudaSuccess;
  cudaGetLastError();
  if (!starts || rings_run_here()) return {};
  const int architecture = 10 * properties.major + properties.minor;
  return fmt::format(
      "this centavo has no code for {} (architecture {}); build it again there, or with "
      "-DCMAKE_CUDA_ARCHITECTURES={}, or use device = \"cpu\"",
      properties.name, architecture, architecture);
}

// CUDA's answer to "how many GPUs?" tells what is wrong with the driver.
Count counted() {
  Count count;
  const cudaError_t status = cudaGetDeviceCount(&count.gpus);
  if (status == cudaSuccess) {
    if (count.gpus > 0) count.trouble = missing_code();
    if (!count.trouble.empty()) count.gpus = 0;
    return count;
  }
  cudaGetLastError();
  count.gpus = 0;
  // The runtime says "insufficient" also of a driver that is missing; the driver's library knows.
  const std::string driver = status == cudaErrorInsufficientDriver ? gpu_facts().cuda_version : "";
  if (status == cudaErrorNoDevice || (status == cudaErrorInsufficientDriver && driver.empty())) {
    count.trouble = kNoGpu;
  } else if (status == cudaErrorInsufficientDriver) {
    count.trouble = fmt::format(
        "the NVIDIA driver supports CUDA {} and this centavo was built with {}; update the "
        "driver or build with an older toolkit",
        driver, version_text(CUDART_VERSION));
  } else {
    count.trouble = fmt::format("the GPU driver does not start: {}; look at nvidia-smi", cudaGetErrorString(status));
  }
  return count;
}

}  // namespace

int gpu_count() { return counted().gpus; }

std::string gpu_trouble() {
  const Count count = counted();
  return count.trouble == kNoGpu ? "" : count.trouble;
}

Gpu open_gpu(int index) {
  const Count count = counted();
  if (count.trouble == kNoGpu)
    throw DeviceError(fmt::format("{}; look at nvidia-smi, or use device = \"cpu\"", kNoGpu));
  if (!count.trouble.empty()) throw DeviceError(count.trouble);
  if (index < 0 || index >= count.gpus) {
    throw DeviceError(fmt::format("there is no GPU {}: this computer has {}, counted from 0", index, count.gpus));
  }
  cuda_check(cudaSetDevice(index), "opening the GPU");
  cudaDeviceProp properties;
  cuda_check(cudaGetDeviceProperties(&properties, index), "asking the GPU what it is");
  Gpu gpu;
  gpu.name = properties.name;
  char place[32] = {};
  cuda_check(cudaDeviceGetPCIBusId(place, sizeof place, index), "asking the GPU where it is");
  gpu.pci_bus_id = place;
  gpu.traits.architecture = 10 * properties.major + properties.minor;
  gpu.traits.multiprocessors = properties.multiProcessorCount;
  if (const std::string missing = missing_code(); !missing.empty()) throw DeviceError(missing);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cuda_check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking the GPU for its memory");
  gpu.free_bytes = static_cast<int64_t>(free_bytes);
  gpu.total_bytes = static_cast<int64_t>(total_bytes);
  return gpu;
}

}  // namespace centavo
