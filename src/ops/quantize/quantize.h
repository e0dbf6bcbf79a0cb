// Operands of 8-bit products: the largest magnitude, and the values scaled by it.
//
//   amax      m [1] f32 = max |x|
//   quantize  q = round(x * kMax / m)      all zeros when m is 0
//
// x T of any shape; q has its shape and dtype f8e4m3 (format "e4m3", kMax 448) or f8e5m2 ("e5m2", 57344). The reader of
// q multiplies by m / kMax. x that is larger than m saturates. A NaN counts for nothing in `amax` and stays NaN in q;
// an infinity makes m infinite, what m / kMax is multiplied with too, so it is not lost either.
//
// The scaled value is computed in f64, rounded to f32 and then to q. Deterministic for any number of threads. Error:
// |q m / kMax - x| <= u |x| where kMax |x| / m is at least the format's smallest normal number, else half its smallest
// subnormal (2^-10; e5m2 2^-17) times m / kMax. No gradient: these ops come into a program after `differentiate`.
// Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
#pragma once

#include <string>

#include "program/builder.h"

namespace centavo {

BufferId amax(Builder& b, const Into& m, BufferId x);
// `format` is "e4m3" or "e5m2".
BufferId quantize(Builder& b, const Into& q, BufferId x, BufferId m, const std::string& format);

//   m = amax(x)
OpDef amax_def();
//   q = quantize(x, m) format
OpDef quantize_def();

CpuKernel amax_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel amax_cuda(const OpView& view, const CudaTraits& traits);
CpuKernel quantize_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel quantize_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
