// cuBLASLt, opened when first used: its functions that are called here are defined in cublas_lt_library.cpp and hand
// over to the library, so that callers see cublasLt.h and the program starts without it.
#pragma once

#include <string>
#include <vector>

#include "base/shared_library.h"

namespace centavo {

// Where it is looked for.
std::vector<std::string> cublas_lt_candidates();

// The first that is not older than what this program was built for, of the same major version.
OpenLibrary find_cublas_lt(const std::vector<std::string>& candidates);

// The one of this process, looked for at the first call.
const OpenLibrary& cublas_lt_library();

// Throws DeviceError where there is none.
void require_cublas_lt(const OpenLibrary& library);

// "13.1" for 130100.
std::string cublas_version_text(int64_t version);

}  // namespace centavo
