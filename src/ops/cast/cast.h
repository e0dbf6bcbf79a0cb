// Copies a tensor into another element type.
//
//   y[i] = round(x[i])        any shape, the same for both; x and y each f64, f32 or bf16
//
// rounding = "nearest": to the nearest number of y's type, ties to even; f64 to bf16 goes through f32.
// rounding = "stochastic": f32 to bf16 only. Up with probability equal to the distance from the lower neighbour, so
//   E[y] = x. Element i takes draw16(0, i) of random_stream(seed, step, 0, logical id of the op) (base/rng.h), i its
//   index in the whole tensor, so a shard gets what the whole would. seed and step are i64 [1], present exactly in this
//   case; inside a micro-batch the counter to give as `step` is `micro_step`, so that micro-batches draw different
//   bits.
//
// Nothing flows back: `precision` places casts in differentiated programs.
//
// Aliasing: y may not share memory with x. Deterministic: a pure function of x, seed, step and logical id.
// Error: nearest |y - x| <= u |x|, stochastic < 2 u |x|, u the roundoff of y's type (above the smallest normal number).
// Source of stochastic rounding: Gupta et al., "Deep Learning with Limited Numerical Precision", 2015.
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

// Returns y. A y given by name gets the accumulator type of the builder's dtype; other types need an existing buffer.
// `seed` and `step` are kNone unless `rounding` is "stochastic".
BufferId cast(Builder& b, const Into& y, BufferId x, const std::string& rounding, BufferId seed, BufferId step);

//   y = cast(x, seed?, step?) rounding
OpDef cast_def();

CpuKernel cast_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel cast_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
