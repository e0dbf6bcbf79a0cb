// One value everywhere: the zeros between the tensors of a gradient unit (passes/units.h).
//
//   y[i] = value        any shape; f64, f32 or bf16, value rounded to it
//
// Deterministic, exact for 0. No gradient.
#pragma once

#include "program/builder.h"

namespace centavo {

// The op's attributes and output, for passes that append it.
Op fill_op(BufferId y, double value);

//   y = fill() value
OpDef fill_def();

CpuKernel fill_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel fill_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
