// Each thread takes kItems vectors of 16 bytes of s, a block's width apart, with the gate and up vectors they belong
// to; s is numbered through, so that a block may span rows. Moves the bytes of each operand once. Rows that are no
// whole number of vectors go element by element. Loads stand under no branch, so that all of a thread are on their way
// at once: past the end the last vector is read again and nothing written. (It may be another thread's s already; then
// nobody looks at it.)
//
// What comes from a product is read past the L2 cache's reuse order, what the next product reads stays in it.

#include "ops/cuda/floats.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/swiglu/swiglu.h"
#include "ops/swiglu/swiglu_of.cuh"

namespace centavo {
namespace {

constexpr int kItems = 2;

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

// The same, or the last unit there is.
__device__ inline uint32_t loaded_unit_of(int item, const Rows& rows) {
  return min(unit_of(item), static_cast<uint32_t>(rows.units) - 1);
}

template <class T>
__global__ void __launch_bounds__(kElementThreads) swiglu_vectors(const T* gate_up, const Rows rows, T* s) {
  constexpr int kSize = Vec<T>::size;
  Vec<T> gates[kItems], ups[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const T* from = gate_up + rows.gate(loaded_unit_of(j, rows)) * kSize;
    gates[j] = Vec<T>::load_streaming(from);
    ups[j] = Vec<T>::load_streaming(from + rows.columns * kSize);
  }
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const uint32_t i = unit_of(j);
    if (i >= rows.units) continue;
    float gate[kSize], up[kSize];
    unpack(gates[j].at, gate);
    unpack(ups[j].at, up);
#pragma unroll
    for (int e = 0; e < kSize; ++e) gate[e] = swiglu_of<T>(gate[e], up[e]);
    Vec<T> to;
    pack(gate, to.at);
    to.store_global(s + int64_t{i} * kSize);
  }
}

template <class T>
__global__ void __launch_bounds__(kElementThreads) swiglu_elements(const T* gate_up, const Rows rows, T* s) {
  const int64_t i = grid_thread();
  if (i >= rows.units) return;
  const T* gate = gate_up + rows.gate(i);
  s[i] = from_float<T>(swiglu_of<T>(to_float(gate[0]), to_float(gate[rows.columns])));
}

// s: with kWithS, what swiglu writes; may lie where ds does.
template <bool kWithS, class T>
__global__ void __launch_bounds__(kElementThreads)
    swiglu_grad_vectors(const T* ds, const T* gate_up, const Rows rows, T* dgate_up, T* s) {
  constexpr int kSize = Vec<T>::size;
  Vec<T> dss[kItems], gates[kItems], ups[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const uint32_t i = loaded_unit_of(j, rows);
    const T* from = gate_up + rows.gate(i) * kSize;
    dss[j] = Vec<T>::load_streaming(ds + int64_t{i} * kSize);
    gates[j] = Vec<T>::load_streaming(from);
    ups[j] = Vec<T>::load_streaming(from + rows.columns * kSize);
  }
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const uint32_t i = unit_of(j);
    if (i >= rows.units) continue;
    float d[kSize], gate[kSize], up[kSize];
    unpack(dss[j].at, d);
    unpack(gates[j].at, gate);
    unpack(ups[j].at, up);
#pragma unroll
    for (int e = 0; e < kSize; ++e) swiglu_grad_of<T>(d[e], gate[e], up[e]);
    pack(gate, gates[j].at);
    pack(up, ups[j].at);
    T* to = dgate_up + rows.gate(i) * kSize;
    gates[j].store_global(to);
    ups[j].store_global(to + rows.columns * kSize);
    if constexpr (kWithS) {
      pack(d, dss[j].at);
      dss[j].store_global(s + int64_t{i} * kSize);
    }
  }
}

template <bool kWithS, class T>
__global__ void __launch_bounds__(kElementThreads)
    swiglu_grad_elements(const T* ds, const T* gate_up, const Rows rows, T* dgate_up, T* s) {
  const int64_t i = grid_thread();
  if (i >= rows.units) return;
  const int64_t at = rows.gate(i);
  float d = to_float(ds[i]), gate = to_float(gate_up[at]), up = to_float(gate_up[at + rows.columns]);
  swiglu_grad_of<T>(d, gate, up);
  dgate_up[at] = from_float<T>(gate);
  dgate_up[at + rows.columns] = from_float<T>(up);
  if constexpr (kWithS) s[i] = from_float<T>(d);
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
  const int64_t rows = v.rows(1);
  const int64_t columns = v.columns(1) / 2;
  return visit_cuda(v.input(1).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      const T* ds = call.in<T>(0);
      const T* gate_up = call.in<T>(1);
      T* to = call.out<T>(0);
      T* s = call.out<T>(1);
      const auto vectors = s != nullptr ? swiglu_grad_vectors<true, T> : swiglu_grad_vectors<false, T>;
      const auto elements = s != nullptr ? swiglu_grad_elements<true, T> : swiglu_grad_elements<false, T>;
      launch<T>(
          rows, columns, aligned_for_vectors({ds, gate_up, to, s}),
          [&](unsigned grid, Rows r) { vectors<<<grid, kElementThreads, 0, call.stream>>>(ds, gate_up, r, to, s); },
          [&](unsigned grid, Rows r) { elements<<<grid, kElementThreads, 0, call.stream>>>(ds, gate_up, r, to, s); });
      check_launch("swiglu_grad");
    };
  });
}

}  // namespace centavo
