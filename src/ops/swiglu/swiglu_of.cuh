// swiglu and its gradient for one element, as every kernel that writes one computes it: they give the same bits. Error
// bounds: swiglu.h.
#pragma once

#include "ops/cuda/floats.cuh"
#include "ops/cuda/mma.cuh"

namespace centavo {

struct Sigmoid {
  float value;
  float rest;  // 1 - value
};

// For f32: both to full relative accuracy. The quotient is within 2 places: 1 + e is in [1, 2].
__device__ inline Sigmoid sigmoid(float x, TypeTag<float>) {
  const float e = expf(-fabsf(x));
  const float large = __fdividef(1.0f, 1.0f + e);
  const float small = large * e;
  return x < 0.0f ? Sigmoid{small, large} : Sigmoid{large, small};
}

// For bf16: value to |x| + 10 roundoffs of f32, 0 where it is below 2^-126; rest to as many of 1.
__device__ inline Sigmoid sigmoid(float x, TypeTag<__nv_bfloat16>) {
  constexpr float kLog2E = 1.44269504f;
  const float value = reciprocal_flushed(1.0f + exp2_flushed(-kLog2E * x));
  return {value, 1.0f - value};
}

template <class T>
__device__ inline float swiglu_of(float gate, float up) {
  return gate * sigmoid(gate, TypeTag<T>{}).value * up;
}

// From ds, gate and up to s, dgate and dup, in their places.
template <class T>
__device__ inline void swiglu_grad_of(float& ds, float& gate, float& up) {
  const Sigmoid sigma = sigmoid(gate, TypeTag<T>{});
  const float silu = gate * sigma.value;
  const float s = silu * up;
  gate = ds * up * fmaf(silu, sigma.rest, sigma.value);
  up = ds * silu;
  ds = s;
}

}  // namespace centavo
