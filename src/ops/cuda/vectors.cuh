// When a call may take 16-byte accesses, and the grids of elementwise kernels.
#pragma once

#include <initializer_list>

#include "ops/cuda/device.cuh"

namespace centavo {

// Do all that are not null start at a multiple of 16 bytes?
inline bool aligned_for_vectors(std::initializer_list<const void*> pointers) {
  uintptr_t bits = 0;
  for (const void* p : pointers) bits |= reinterpret_cast<uintptr_t>(p);
  return bits % 16 == 0;
}

// Blocks that cover `things`, at least one. CHECKs that a grid can be that large.
inline unsigned blocks_for(int64_t things, int64_t things_per_block) {
  const int64_t blocks = std::max<int64_t>(ceil_div(things, things_per_block), 1);
  CHECK(blocks <= INT32_MAX, "a grid of {} blocks is too large", blocks);
  return static_cast<unsigned>(blocks);
}

// Elementwise kernels give each thread kItems units (16 bytes, as a rule), a block's width apart, so that all of them
// are on their way at once.
constexpr int kElementThreads = 256;

// The thread's number in the grid, and how many there are.
__device__ inline int64_t grid_thread() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ inline int64_t grid_threads() { return int64_t{gridDim.x} * blockDim.x; }

}  // namespace centavo
