// Counts: the step counter, and the counters that pick the slot of a ring.
//
//   counter += 1          [1]  i64
//
// Nothing flows back. Aliasing: input and output are the same buffer. Deterministic, exact; wraps at 2^63.
#pragma once

#include "program/builder.h"

namespace centavo {

void advance(Builder& b, BufferId counter);

//   counter = advance(counter)
OpDef advance_def();

CpuKernel advance_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel advance_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
