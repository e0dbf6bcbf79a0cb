// cuDNN, opened when first used: its functions that are called here are defined in cudnn_library.cpp and hand over to
// the library, so that callers see cudnn.h and the program starts without it. Without one that will do, attention runs
// centavo's own kernels, and the plan says why.
#pragma once

#include <string>
#include <vector>

#include "base/shared_library.h"

namespace centavo {

// What the interface works around in older libraries needs memory of the host at each run.
inline constexpr int64_t kOldestCudnn = 91600;

// Was this program built with cuDNN's headers? Else there is no library and nothing is planned for one.
bool built_with_cudnn();

// Where it is looked for.
std::vector<std::string> cudnn_candidates();

// The first that is not older than kOldestCudnn and was built for the same major version of CUDA.
OpenLibrary find_cudnn(const std::vector<std::string>& candidates);

// The one of this process, looked for at the first call.
const OpenLibrary& cudnn_library();

// "9.19" for 91900.
std::string cudnn_version_text(int64_t version);

}  // namespace centavo
