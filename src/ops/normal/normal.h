// Normally distributed numbers, a pure function of (seed, stream, element): the first values of weights.
//
//   y[i] = mean + deviation * normal(seed, stream, begin + i)      any shape; f64, f32 or bf16
//
// `normal` is RandomStream::normal (base/rng.h), computed in f64, rounded to f32 and then to y's dtype. On GPUs
// logarithm and cosine may differ by an ulp of f64, so about one value in 10^7 by an ulp of f32. No gradient.
#pragma once

#include "base/rng.h"
#include "program/builder.h"

namespace centavo {

struct NormalLaw {
  double mean = 0;
  double deviation = 1;
};

// Writes y; its element 0 is element `begin` of the stream.
void normal(Builder& b, BufferId y, const NormalLaw& law, const RandomStream& random, int64_t begin);

//   y = normal() mean deviation seed stream begin
OpDef normal_def();

CpuKernel normal_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel normal_cuda(const OpView& view, const CudaTraits& traits);

// What the kernels read from the attributes.
struct NormalCall {
  NormalLaw law;
  RandomStream random;
  uint64_t begin = 0;
};
NormalCall normal_call(const OpView& view);

}  // namespace centavo
