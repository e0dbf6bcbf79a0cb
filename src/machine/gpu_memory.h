// Who holds the memory of a GPU that a plan would fit onto.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/nvml.h"

namespace centavo {

struct GpuMemory {
  std::string gpu;  // its name
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
  int64_t own_bytes = 0;  // held by this process, besides its context
  // On it. Where this one is missing, the ids are not those that this process sees: a container's host gives its own.
  std::vector<GpuProcess> processes = {};
};

// "the run needs 9.0 GiB of memory and 2.0 GiB of the 16.0 GiB of NVIDIA X are free, the rest is held by process 17
// (python, 12.0 GiB), …; end what need not run, …" where `what` needs more than is free and not more than the GPU could
// give if others gave it up; empty where more than that is needed, or all of it is free.
std::string held_by_others(const std::string& what, int64_t needed_bytes, const GpuMemory& memory);

}  // namespace centavo
