#include "machine/cuda/rings.h"

#include "ops/cuda/device.cuh"

namespace centavo {
namespace {

constexpr int kThreads = 256;

// One thread copies 16 bytes; the last piece of a slot may be shorter.
__global__ void copy_slot(RingSlots ring, std::byte* staged, bool store) {
  const int64_t at = 16 * (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x);
  if (at >= ring.bytes) return;
  std::byte* slot = ring.base + (*ring.counter % ring.slots) * ring.stride + at;
  std::byte* to = store ? slot : staged + at;
  const std::byte* from = store ? staged + at : slot;
  if (at + 16 <= ring.bytes) {
    *reinterpret_cast<int4*>(to) = *reinterpret_cast<const int4*>(from);
  } else {
    for (int64_t i = 0; at + i < ring.bytes; ++i) to[i] = from[i];
  }
}

void launch(const RingSlots& ring, std::byte* staged, bool store, CUstream_st* stream) {
  const auto blocks = static_cast<unsigned>(ceil_div(ring.bytes, 16 * kThreads));
  copy_slot<<<blocks, kThreads, 0, stream>>>(ring, staged, store);
  check_launch("copying a ring's slot");
}

}  // namespace

void load_slot(const RingSlots& ring, std::byte* staged, CUstream_st* stream) { launch(ring, staged, false, stream); }

void store_slot(const RingSlots& ring, const std::byte* staged, CUstream_st* stream) {
  launch(ring, const_cast<std::byte*>(staged), true, stream);
}

bool rings_run_here() {
  cudaFuncAttributes attributes;
  const bool runs = cudaFuncGetAttributes(&attributes, copy_slot) == cudaSuccess;
  cudaGetLastError();
  return runs;
}

void poison_device(std::byte* memory, int64_t bytes, CUstream_st* stream) {
  cuda_check(cudaMemsetAsync(memory, 0xff, static_cast<size_t>(bytes), stream), "poisoning device memory");
}

}  // namespace centavo
