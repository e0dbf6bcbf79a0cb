// The GPU of this process, and what may be wrong with it.
#pragma once

#include <cstdint>
#include <string>

#include "program/op_table.h"

namespace centavo {

// GPUs that a program can use; 0 without a driver, and when this program has no code for the current one.
int gpu_count();

// Why the GPUs that are there cannot be used; empty when they can, or when there is none.
std::string gpu_trouble();

struct Gpu {
  std::string name;
  std::string pci_bus_id;  // "0000:18:00.0"
  CudaTraits traits;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

// Makes device `index` the current one. Throws DeviceError: no driver, a driver older than the toolkit, no such GPU, a
// GPU whose architecture this program was not built for.
Gpu open_gpu(int index);

}  // namespace centavo
