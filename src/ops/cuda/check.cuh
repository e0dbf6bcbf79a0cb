// Checked calls of the CUDA runtime; for .cu files and machine/cuda/ alone.
#pragma once

#include <cuda_runtime_api.h>

#include "base/errors.h"

namespace centavo {

// Throws DeviceError: "<what>: <CUDA's words>".
inline void cuda_check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw DeviceError(fmt::format("{}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status)));
}

// Behind every launch: a bad configuration is an error here and now.
inline void check_launch(const char* kernel) { cuda_check(cudaGetLastError(), kernel); }

}  // namespace centavo
