#include "machine/cuda/gpu.h"

#include "machine/cuda/rings.h"
#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// CUDA's answer to "how many GPUs?" tells what is wrong with the driver.
int counted() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count;
  cudaGetLastError();
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (status == cudaErrorInsufficientDriver && driver > 0) {
    throw DeviceError(
        fmt::format("the NVIDIA driver supports CUDA {} and this centavo was built with {}; update the driver "
                    "or build with an older toolkit",
                    version_text(driver), version_text(CUDART_VERSION)));
  }
  if (status == cudaErrorNoDevice || driver == 0) {
    throw DeviceError("there is no NVIDIA GPU or no driver for it; look at nvidia-smi, or use device = \"cpu\"");
  }
  throw DeviceError(fmt::format("the GPU driver does not start: {}; look at nvidia-smi", cudaGetErrorString(status)));
}

}  // namespace

int gpu_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

Gpu open_gpu(int index) {
  const int count = counted();
  if (index < 0 || index >= count) {
    throw DeviceError(fmt::format("there is no GPU {}: this computer has {}, counted from 0", index, count));
  }
  cuda_check(cudaSetDevice(index), "opening the GPU");
  cudaDeviceProp properties;
  cuda_check(cudaGetDeviceProperties(&properties, index), "asking the GPU what it is");
  Gpu gpu;
  gpu.name = properties.name;
  gpu.traits.architecture = 10 * properties.major + properties.minor;
  gpu.traits.multiprocessors = properties.multiProcessorCount;
  if (!rings_run_here()) {
    throw DeviceError(
        fmt::format("this centavo has no code for {} (architecture {}); build it again there, or with "
                    "-DCMAKE_CUDA_ARCHITECTURES={}",
                    gpu.name, gpu.traits.architecture, gpu.traits.architecture));
  }
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cuda_check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking the GPU for its memory");
  gpu.free_bytes = static_cast<int64_t>(free_bytes);
  gpu.total_bytes = static_cast<int64_t>(total_bytes);
  return gpu;
}

}  // namespace centavo
