// The NVIDIA GPUs of this machine, as its driver tells them. Nothing is allocated on a GPU and no context is made.
//
// The driver's own library (libcuda.so.1) is opened at run time, so nothing needs it to build or to start. Sources:
// CUDA driver API, "Initialization", "Version Management" and "Device Management".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace centavo {

struct DriverGpu {
  std::string name;
  int64_t memory_bytes = 0;
  int compute_major = 0;
  int compute_minor = 0;
};

struct GpuFacts {
  std::string driver_version;  // of the kernel's module; empty when it is not loaded
  int64_t kernel_gpus = 0;     // that the kernel's module drives
  bool has_library = false;    // libcuda.so.1 can be opened
  std::string cuda_version;    // the newest that the driver supports
  std::string failure;         // why the library names no GPU
  std::vector<DriverGpu> gpus;
};

// `root` as in host.h.
GpuFacts gpu_facts(const std::string& root = "");

}  // namespace centavo
