// How an op runs on a GPU: a product of cuBLASLt and what follows it, or one of the kernels that do both.
#pragma once

#include <string>
#include <vector>

#include "program/op_table.h"

namespace centavo {

struct CudaWay {
  std::string name;  // in the tuning table
  CudaKernel kernel;
};

// Which of the ways: the tuning table's for `key` and the op's dtype and alignments, else each is timed once and the
// fastest entered there. The first where there is no other, where the op is so short that the launch is what would be
// timed, or where no memory is left to time in, which is not kept. All may use `workspace_bytes`. Needs
// traits.libraries, and is entered in their `ways`. Throws DeviceError.
size_t fastest_way(const OpView& view, const CudaTraits& traits, const std::vector<CudaWay>& ways,
                   const std::string& key, double flops, int64_t workspace_bytes);

}  // namespace centavo
