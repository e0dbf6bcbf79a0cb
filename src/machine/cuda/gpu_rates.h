// How fast the GPU of this process moves bytes.
#pragma once

namespace centavo {

struct GpuRates {
  double copy_bytes_per_second = 0;       // from device memory to device memory, read + written
  double to_device_bytes_per_second = 0;  // from pinned host memory
  double to_host_bytes_per_second = 0;
};

// Copies of 1 GiB, the best of half a second each. Throws DeviceError: no GPU, or less than 2 GiB free on it or 1 GiB
// on the host. In a build without CUDA a UserError.
GpuRates measured_gpu_rates();

}  // namespace centavo
