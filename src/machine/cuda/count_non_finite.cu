// One thread looks at every blocks x threads-th element; a block adds its findings to two numbers in device memory.

#include "machine/cuda/count_non_finite.h"

#include "ops/cuda/device.cuh"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 2048;

struct Found {
  unsigned long long count;
  unsigned long long first;  // all bits set: none
};

template <class T>
__global__ void look(const T* elements, int64_t count, Found* found) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  unsigned long long own = 0;
  unsigned long long first = ~0ull;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    if (isfinite(to_float(elements[i]))) continue;
    ++own;
    first = min(first, static_cast<unsigned long long>(i));
  }
  if (own == 0) return;
  atomicAdd(&found->count, own);
  atomicMin(&found->first, first);
}

// Device memory for the findings.
class Place {
 public:
  Place() { cuda_check(cudaMalloc(&found_, sizeof(Found)), "allocating a count"); }
  ~Place() { cudaFree(found_); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  Found* get() const { return found_; }

 private:
  Found* found_ = nullptr;
};

}  // namespace

NonFiniteElements count_non_finite(const void* elements, DType dtype, int64_t count, CUstream_st* stream) {
  const Place place;
  Found found = {0, ~0ull};
  cuda_check(cudaMemcpyAsync(place.get(), &found, sizeof found, cudaMemcpyHostToDevice, stream), "clearing a count");
  if (count > 0) {
    visit_cuda(dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const auto blocks = static_cast<unsigned>(std::min(ceil_div(count, kThreads), kMostBlocks));
      look<<<blocks, kThreads, 0, stream>>>(static_cast<const T*>(elements), count, place.get());
      check_launch("counting what is not finite");
    });
  }
  cuda_check(cudaMemcpyAsync(&found, place.get(), sizeof found, cudaMemcpyDeviceToHost, stream), "reading a count");
  cuda_check(cudaStreamSynchronize(stream), "counting what is not finite");
  return {static_cast<int64_t>(found.count), found.count == 0 ? -1 : static_cast<int64_t>(found.first)};
}

}  // namespace centavo
