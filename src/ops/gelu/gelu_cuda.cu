// Each thread takes kItems vectors of 16 bytes, a block's width apart. Loads stand under no branch, so that all of a
// thread are on their way at once: past the end the last vector is read again and nothing written. Moves the bytes of
// each operand once. Where operands are no whole number of vectors, or lie off the multiples of 16 bytes, a vector is
// one element.
//
// What comes from a product is read past the L2 cache's reuse order, what the next product reads stays in it.

#include "ops/cuda/floats.cuh"
#include "ops/cuda/mma.cuh"
#include "ops/cuda/pack.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/gelu/gelu.h"
#include "ops/gelu/gelu_constants.h"

namespace centavo {
namespace {

constexpr int kItems = 4;

// z log2(e) = x (kLinear + kCubic x^2), so that exp(-|z|) is one power of 2.
constexpr double kLog2E = 1.4426950408889634;
constexpr float kLinear = static_cast<float>(kLog2E * kGeluScale);
constexpr float kCubic = static_cast<float>(kLog2E * kGeluScale * kGeluCubic);
constexpr float kSlope = static_cast<float>(kGeluScale);
constexpr float kSlopeSquare = static_cast<float>(3 * kGeluScale * kGeluCubic);
constexpr float kFarSquare = static_cast<float>(kGeluFarSquare);

// sigma(z) and 1 - sigma(z), each to full relative accuracy, from z log2(e).
struct Sigmoid {
  float value;
  float rest;
};

__device__ inline Sigmoid sigmoid(float z) {
  const float e = exp2_flushed(-fabsf(z));
  const float large = reciprocal_flushed(1.0f + e);
  const float small = large * e;
  return z < 0.0f ? Sigmoid{small, large} : Sigmoid{large, small};
}

__device__ inline float gelu_of(float x) { return x * sigmoid(x * (kLinear + kCubic * (x * x))).value; }

__device__ inline float gradient_of(float dy, float x) {
  const float square = fminf(x * x, kFarSquare);
  const Sigmoid sigma = sigmoid(x * (kLinear + kCubic * square));
  const float slope = kSlope + kSlopeSquare * square;
  return dy * (sigma.value * (1.0f + x * slope * sigma.rest));
}

// Pack j of this thread, of N elements.
__device__ inline int64_t pack_of(int j) {
  return int64_t{blockIdx.x} * (kElementThreads * kItems) + j * kElementThreads + threadIdx.x;
}

// The same, or the last pack there is.
__device__ inline int64_t loaded_pack_of(int j, int64_t packs) { return min(pack_of(j), packs - 1); }

template <int N, class T>
__global__ void __launch_bounds__(kElementThreads) gelu_packs(const T* x, int64_t packs, T* y) {
  Pack<T, N> given[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j) given[j] = Pack<T, N>::load_streaming(x + loaded_pack_of(j, packs) * N);
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    if (pack_of(j) >= packs) continue;
    float values[N];
    unpack(given[j].at, values);
#pragma unroll
    for (int e = 0; e < N; ++e) values[e] = gelu_of(values[e]);
    pack(values, given[j].at);
    given[j].store(y + pack_of(j) * N);
  }
}

template <int N, class T>
__global__ void __launch_bounds__(kElementThreads) gelu_grad_packs(const T* dy, const T* x, int64_t packs, T* dx) {
  Pack<T, N> dys[kItems], given[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    dys[j] = Pack<T, N>::load_streaming(dy + loaded_pack_of(j, packs) * N);
    given[j] = Pack<T, N>::load_streaming(x + loaded_pack_of(j, packs) * N);
  }
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    if (pack_of(j) >= packs) continue;
    float d[N], values[N];
    unpack(dys[j].at, d);
    unpack(given[j].at, values);
#pragma unroll
    for (int e = 0; e < N; ++e) d[e] = gradient_of(d[e], values[e]);
    pack(d, dys[j].at);
    dys[j].store(dx + pack_of(j) * N);
  }
}

unsigned grid_for(int64_t packs) { return blocks_for(packs, kElementThreads * kItems); }

}  // namespace

CudaKernel gelu_cuda(const OpView& v, const CudaTraits&) {
  const int64_t count = v.input(0).elements();
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      constexpr int N = Vec<T>::size;
      const T* x = call.in<T>(0);
      T* y = call.out<T>(0);
      if (count % N == 0 && aligned_for_vectors({x, y})) {
        gelu_packs<N><<<grid_for(count / N), kElementThreads, 0, call.stream>>>(x, count / N, y);
      } else {
        gelu_packs<1><<<grid_for(count), kElementThreads, 0, call.stream>>>(x, count, y);
      }
      check_launch("gelu");
    };
  });
}

CudaKernel gelu_grad_cuda(const OpView& v, const CudaTraits&) {
  const int64_t count = v.input(0).elements();
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      constexpr int N = Vec<T>::size;
      const T* dy = call.in<T>(0);
      const T* x = call.in<T>(1);
      T* dx = call.out<T>(0);
      if (count % N == 0 && aligned_for_vectors({dy, x, dx})) {
        gelu_grad_packs<N><<<grid_for(count / N), kElementThreads, 0, call.stream>>>(dy, x, count / N, dx);
      } else {
        gelu_grad_packs<1><<<grid_for(count), kElementThreads, 0, call.stream>>>(dy, x, count, dx);
      }
      check_launch("gelu_grad");
    };
  });
}

}  // namespace centavo
