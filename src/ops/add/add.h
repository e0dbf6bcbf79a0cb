// Elementwise sum.
//
//   c = a + b          any shape, the same for all three; T, the same for all three
//
// Carried in the accumulator of T and rounded once. Used on activations, and by `differentiate` where two gradients
// meet and neither op can add in place.
//
// Backward: the gradient of c is handed on to a and to b unchanged, no op is appended.
//
// Aliasing: c may be the same buffer as a or b, else it shares no memory with them. Deterministic: each element is
// computed on its own. Error: |c - exact| <= u |c|, u the roundoff of T (for bf16 of the f32 sum too).
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

BufferId add(Builder& b, const std::string& name, BufferId a, BufferId c);

//   c = add(a, b)
OpDef add_def();

CpuKernel add_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel add_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
