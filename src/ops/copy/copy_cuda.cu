// Between buffers of the device a kernel of our own, which is faster there than the driver's copy: a thread moves 8
// units of 16 bytes, a block's width apart, all on their way at once (units of 4 bytes, or of one, where an address is
// no multiple of 16). What is left behind the last unit goes byte by byte. To and from host memory one asynchronous
// copy, which runs beside kernels, as that memory is page-locked. Moves the bytes of x and y once.

#include "ops/copy/copy.h"
#include "ops/cuda/vectors.cuh"

namespace centavo {
namespace {

constexpr int kItems = 8;  // of a thread
constexpr int64_t kBlockItems = int64_t{kElementThreads} * kItems;

template <class Unit>
__global__ void __launch_bounds__(kElementThreads) copy_units(const Unit* x, int64_t count, Unit* y) {
  const int64_t first = int64_t{blockIdx.x} * kBlockItems + threadIdx.x;
  Unit units[kItems];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (first + i * kElementThreads < count) units[i] = __ldcs(x + first + i * kElementThreads);
  }
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (first + i * kElementThreads < count) __stcs(y + first + i * kElementThreads, units[i]);
  }
}

// Returns the bytes copied: those of whole units.
template <class Unit>
int64_t copy_whole(const std::byte* x, int64_t bytes, std::byte* y, CUstream_st* stream) {
  const int64_t count = bytes / static_cast<int64_t>(sizeof(Unit));
  if (count == 0) return 0;
  copy_units<<<blocks_for(count, kBlockItems), kElementThreads, 0, stream>>>(reinterpret_cast<const Unit*>(x), count,
                                                                             reinterpret_cast<Unit*>(y));
  check_launch("copy");
  return count * static_cast<int64_t>(sizeof(Unit));
}

void copy_on_device(const std::byte* x, int64_t bytes, std::byte* y, CUstream_st* stream) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(y);
  const int64_t copied = address % 16 == 0  ? copy_whole<int4>(x, bytes, y, stream)
                         : address % 4 == 0 ? copy_whole<int32_t>(x, bytes, y, stream)
                                            : 0;
  copy_whole<signed char>(x + copied, bytes - copied, y + copied, stream);
}

Home home_of(const Program& program, BufferId buffer) { return program.buffer(program.root(buffer)).home; }

}  // namespace

CudaKernel copy_cuda(const OpView& v, const CudaTraits&) {
  const int64_t bytes = v.input(0).slot_bytes();
  const bool on_device = home_of(v.program(), v.op().inputs[0]) == Home::device &&
                         home_of(v.program(), v.op().outputs[0].buffer) == Home::device;
  if (on_device) {
    return [bytes](const CudaCall& call) {
      copy_on_device(call.in<std::byte>(0), bytes, call.out<std::byte>(0), call.stream);
    };
  }
  return [bytes = static_cast<size_t>(bytes)](const CudaCall& call) {
    cuda_check(cudaMemcpyAsync(call.out<void>(0), call.in<void>(0), bytes, cudaMemcpyDefault, call.stream), "copy");
  };
}

}  // namespace centavo
