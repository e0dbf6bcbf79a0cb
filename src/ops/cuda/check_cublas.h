// Checked calls of cuBLASLt, for .cu files.
#pragma once

#include <cublasLt.h>

#include "base/errors.h"

namespace centavo {

// Throws DeviceError: "<what>: <cuBLAS's words>".
inline void cublas_check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(
      fmt::format("{}: {} (cuBLAS status {})", what, cublasLtGetStatusString(status), static_cast<int>(status)));
}

}  // namespace centavo
