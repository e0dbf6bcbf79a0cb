// Each thread takes kItems vectors of 16 bytes of s, a block's width apart, with the gate and up vectors they belong
// to; s is numbered through, so that a block may span rows. Moves the bytes of each operand once. Rows that are no
// whole number of vectors go element by element.
//
// What comes from a product is read past the L2 cache's reuse order, what the next product reads stays in it.

#include "ops/cuda/vectors.cuh"
#include "ops/swiglu/swiglu.h"

namespace centavo {
namespace {

constexpr int kItems = 2;

// sigma(x) and 1 - sigma(x), each to full relative accuracy. The quotient is within 2 places: 1 + e is in [1, 2].
struct Sigmoid {
  float value;
  float rest;
};

__device__ inline Sigmoid sigmoid(float x) {
  const float e = expf(-fabsf(x));
  const float large = __fdividef(1.0f, 1.0f + e);
  const float small = large * e;
  return x < 0.0f ? Sigmoid{small, large} : Sigmoid{large, small};
}

__device__ inline float swiglu_of(float gate, float up) { return gate * sigmoid(gate).value * up; }

struct Gradient {
  float gate;
  float up;
};

__device__ inline Gradient gradient_of(float ds, float gate, float up) {
  const Sigmoid sigma = sigmoid(gate);
  return {ds * up * (sigma.value * (1.0f + gate * sigma.rest)), ds * (gate * sigma.value)};
}

// [N, F] beside [N, 2F], both in units of a vector or of an element.
struct Rows {
  int64_t units;    // N F
  int64_t columns;  // F

  // Where the gate of unit i of s lies; its up lies `columns` further.
  template <class Index>
  __device__ int64_t gate(Index i) const {
    return int64_t{i} + int64_t{i / static_cast<Index>(columns)} * columns;
  }
};

__device__ inline uint32_t unit_of(int item) {
  return blockIdx.x * (kElementThreads * kItems) + item * kElementThreads + threadIdx.x;
}

template <class T>
__global__ void __launch_bounds__(kElementThreads) swiglu_vectors(const T* gate_up, const Rows rows, T* s) {
  constexpr int kSize = Vec<T>::size;
  Vec<T> gate[kItems], up[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const uint32_t i = unit_of(j);
    if (i >= rows.units) continue;
    const T* from = gate_up + rows.gate(i) * kSize;
    gate[j] = Vec<T>::load_streaming(from);
    up[j] = Vec<T>::load_streaming(from + rows.columns * kSize);
  }
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const uint32_t i = unit_of(j);
    if (i >= rows.units) continue;
    Vec<T> to;
#pragma unroll
    for (int e = 0; e < kSize; ++e) to.at[e] = from_float<T>(swiglu_of(to_float(gate[j].at[e]), to_float(up[j].at[e])));
    to.store(s + int64_t{i} * kSize);
  }
}

template <class T>
__global__ void __launch_bounds__(kElementThreads) swiglu_elements(const T* gate_up, const Rows rows, T* s) {
  const int64_t i = grid_thread();
  if (i >= rows.units) return;
  const T* gate = gate_up + rows.gate(i);
  s[i] = from_float<T>(swiglu_of(to_float(gate[0]), to_float(gate[rows.columns])));
}

template <class T>
__global__ void __launch_bounds__(kElementThreads)
    swiglu_grad_vectors(const T* ds, const T* gate_up, const Rows rows, T* dgate_up) {
  constexpr int kSize = Vec<T>::size;
  Vec<T> d[kItems], gate[kItems], up[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const uint32_t i = unit_of(j);
    if (i >= rows.units) continue;
    const T* from = gate_up + rows.gate(i) * kSize;
    d[j] = Vec<T>::load_streaming(ds + int64_t{i} * kSize);
    gate[j] = Vec<T>::load_streaming(from);
    up[j] = Vec<T>::load_streaming(from + rows.columns * kSize);
  }
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const uint32_t i = unit_of(j);
    if (i >= rows.units) continue;
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      const Gradient to = gradient_of(to_float(d[j].at[e]), to_float(gate[j].at[e]), to_float(up[j].at[e]));
      gate[j].at[e] = from_float<T>(to.gate);
      up[j].at[e] = from_float<T>(to.up);
    }
    T* to = dgate_up + rows.gate(i) * kSize;
    gate[j].store(to);
    up[j].store(to + rows.columns * kSize);
  }
}

template <class T>
__global__ void __launch_bounds__(kElementThreads)
    swiglu_grad_elements(const T* ds, const T* gate_up, const Rows rows, T* dgate_up) {
  const int64_t i = grid_thread();
  if (i >= rows.units) return;
  const int64_t at = rows.gate(i);
  const Gradient to = gradient_of(to_float(ds[i]), to_float(gate_up[at]), to_float(gate_up[at + rows.columns]));
  dgate_up[at] = from_float<T>(to.gate);
  dgate_up[at + rows.columns] = from_float<T>(to.up);
}

// Units of vectors are numbered in 32 bits, of which a block may run over by its width.
template <class T>
bool in_vectors(int64_t rows, int64_t columns) {
  return columns % Vec<T>::size == 0 && rows * (columns / Vec<T>::size) < INT32_MAX;
}

// Calls vectors(grid, rows) or elements(grid, rows).
template <class T, class Vectors, class Elements>
void launch(int64_t rows, int64_t columns, bool aligned, Vectors&& vectors, Elements&& elements) {
  if (aligned && in_vectors<T>(rows, columns)) {
    const int64_t units = rows * columns / Vec<T>::size;
    vectors(blocks_for(units, kElementThreads * kItems), Rows{units, columns / Vec<T>::size});
  } else {
    elements(blocks_for(rows * columns, kElementThreads), Rows{rows * columns, columns});
  }
}

}  // namespace

CudaKernel swiglu_cuda(const OpView& v, const CudaTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0) / 2;
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      const T* gate_up = call.in<T>(0);
      T* s = call.out<T>(0);
      launch<T>(
          rows, columns, aligned_for_vectors({gate_up, s}),
          [&](unsigned grid, Rows r) { swiglu_vectors<<<grid, kElementThreads, 0, call.stream>>>(gate_up, r, s); },
          [&](unsigned grid, Rows r) { swiglu_elements<<<grid, kElementThreads, 0, call.stream>>>(gate_up, r, s); });
      check_launch("swiglu");
    };
  });
}

CudaKernel swiglu_grad_cuda(const OpView& v, const CudaTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      const T* ds = call.in<T>(0);
      const T* gate_up = call.in<T>(1);
      T* to = call.out<T>(0);
      launch<T>(
          rows, columns, aligned_for_vectors({ds, gate_up, to}),
          [&](unsigned grid, Rows r) {
            swiglu_grad_vectors<<<grid, kElementThreads, 0, call.stream>>>(ds, gate_up, r, to);
          },
          [&](unsigned grid, Rows r) {
            swiglu_grad_elements<<<grid, kElementThreads, 0, call.stream>>>(ds, gate_up, r, to);
          });
      check_launch("swiglu_grad");
    };
  });
}

}  // namespace centavo
