// The same elements somewhere else.
//
//   y = x              any dtype and shape, the same for both
//
// Moves bits, computes nothing. This is how a tensor travels between homes: x and y may lie in device memory or in host
// memory, and whoever adds the op to a program says on which lane it runs. `offload` (passes/offload.h) does.
//
// Aliasing: y shares no memory with x. Cost: the bytes of both. No gradient.
#pragma once

#include "program/builder.h"

namespace centavo {

BufferId copy(Builder& b, BufferId x, const Into& y);

//   y = copy(x)
OpDef copy_def();

CpuKernel copy_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel copy_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
