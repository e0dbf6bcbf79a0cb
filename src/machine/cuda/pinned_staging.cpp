#include "machine/cuda/pinned_staging.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

constexpr int64_t kGrain = 256 << 10;  // bytes a thread is worth waking for

// A quarter of the whole, so that there is something to overlap.
size_t piece_bytes(size_t bytes) {
  return std::clamp(bytes / 4, PinnedStaging::kSmallBytes, PinnedStaging::kBufferBytes);
}

void copy_on_host(std::byte* to, const std::byte* from, size_t bytes) {
  parallel_ranges(static_cast<int64_t>(bytes), kGrain, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

void enqueue_copy(void* to, const void* from, size_t bytes, CUstream_st* stream) {
  cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "copying from or to the GPU");
}

void wait_for(CUevent_st* event) { cuda_check(cudaEventSynchronize(event), "copying from or to the GPU"); }

}  // namespace

PinnedStaging::~PinnedStaging() {
  for (const Buffer& buffer : buffers_) {
    if (buffer.memory != nullptr) cudaFreeHost(buffer.memory);
    if (buffer.done != nullptr) cudaEventDestroy(buffer.done);
  }
}

void PinnedStaging::allocate() {
  for (Buffer& buffer : buffers_) {
    if (buffer.memory != nullptr) continue;
    void* memory = nullptr;
    cuda_check(cudaHostAlloc(&memory, kBufferBytes, cudaHostAllocDefault), "allocating memory for copies");
    buffer.memory = static_cast<std::byte*>(memory);
    cuda_check(cudaEventCreateWithFlags(&buffer.done, cudaEventDisableTiming), "making an event");
  }
}

void PinnedStaging::to_host(std::span<std::byte> to, const std::byte* from, CUstream_st* stream) {
  if (to.size() <= kSmallBytes) {
    enqueue_copy(to.data(), from, to.size(), stream);
    cuda_check(cudaStreamSynchronize(stream), "reading from the GPU");
    return;
  }
  const std::lock_guard lock(mutex_);
  allocate();
  const size_t piece = piece_bytes(to.size());
  const size_t pieces = (to.size() + piece - 1) / piece;
  for (size_t i = 0; i <= pieces; ++i) {
    if (i < pieces) {
      const Buffer& next = buffers_[i % 2];
      enqueue_copy(next.memory, from + i * piece, std::min(piece, to.size() - i * piece), stream);
      cuda_check(cudaEventRecord(next.done, stream), "recording an event");
    }
    if (i == 0) continue;
    const Buffer& last = buffers_[(i - 1) % 2];
    const size_t at = (i - 1) * piece;
    wait_for(last.done);
    copy_on_host(to.data() + at, last.memory, std::min(piece, to.size() - at));
  }
}

void PinnedStaging::to_device(std::byte* to, std::span<const std::byte> from, CUstream_st* stream) {
  if (from.size() <= kSmallBytes) {
    enqueue_copy(to, from.data(), from.size(), stream);
    cuda_check(cudaStreamSynchronize(stream), "writing to the GPU");
    return;
  }
  const std::lock_guard lock(mutex_);
  allocate();
  const size_t piece = piece_bytes(from.size());
  for (size_t at = 0, i = 0; at < from.size(); at += piece, ++i) {
    const Buffer& buffer = buffers_[i % 2];
    const size_t bytes = std::min(piece, from.size() - at);
    if (i >= 2) wait_for(buffer.done);
    copy_on_host(buffer.memory, from.data() + at, bytes);
    enqueue_copy(to + at, buffer.memory, bytes, stream);
    cuda_check(cudaEventRecord(buffer.done, stream), "recording an event");
  }
  cuda_check(cudaStreamSynchronize(stream), "writing to the GPU");
}

}  // namespace centavo
