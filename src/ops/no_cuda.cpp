// A build without CUDA.

#include "ops/cuda/kernels.h"

namespace centavo {

void add_cuda_kernels(std::vector<OpDef>&) {}

bool built_with_cuda() { return false; }

}  // namespace centavo
