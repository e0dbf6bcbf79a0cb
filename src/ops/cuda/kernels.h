// The CUDA kernels of the ops: one line an op in ops/cuda/kernels.cpp.
#pragma once

#include <vector>

#include "program/op_table.h"

namespace centavo {

// Sets `cuda` and `cuda_workspace_bytes` of the rows that have a CUDA kernel; nothing in a build without CUDA
// (ops/no_cuda.cpp). CHECKs that each kernel belongs to a row.
void add_cuda_kernels(std::vector<OpDef>& rows);

// Was this program built with CUDA?
bool built_with_cuda();

}  // namespace centavo
