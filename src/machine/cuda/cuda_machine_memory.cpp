// The memory of the CUDA machine: its arenas, and what goes from and to the host.

#include "machine/cuda/count_non_finite.h"
#include "machine/cuda/cuda_machine.h"
#include "machine/make_machine.h"
#include "ops/cuda/check.cuh"
#include "passes/place.h"

namespace centavo {

int64_t CudaMachine::device_bytes() const {
  const int64_t lent = options_.lender == nullptr ? 0 : options_.lender->device_bytes();
  return lent + (arenas_.contains(Home::device) ? program_.arena_bytes.at(Home::device) : 0);
}

void CudaMachine::refuse_allocation(Home home, int64_t bytes) const {
  if (home == Home::host) {
    throw OutOfMemory(
        fmt::format("the plan needs {} bytes of pinned host memory and the driver gives fewer; offload less, or free "
                    "memory of the host. By region:{}",
                    bytes, region_table(program_)));
  }
  require_free_of_others(DeviceKind::cuda, "the plan", bytes, device_bytes());
  throw OutOfMemory(
      fmt::format("the plan needs {} bytes of device memory and {} are free on {}; use memory = \"…GiB\", a smaller "
                  "micro_batch or seq_len. By region:{}",
                  bytes, open_gpu(options_.gpu).free_bytes, gpu_.name, region_table(program_)));
}

// Pinned memory is the driver's: it counts against no limit on locked memory (RLIMIT_MEMLOCK).
void CudaMachine::allocate() {
  for (const auto& [home, bytes] : program_.arena_bytes) {
    if (bytes == 0) continue;
    void* memory = nullptr;
    const auto size = static_cast<size_t>(bytes);
    const cudaError_t status =
        home == Home::host ? cudaHostAlloc(&memory, size, cudaHostAllocDefault) : cudaMalloc(&memory, size);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      refuse_allocation(home, bytes);
    }
    cuda_check(status, "allocating an arena");
    arenas_[home] = CudaMemory(static_cast<std::byte*>(memory), CudaFree{home});
    if (options_.debug) poison_device(arenas_[home].get(), bytes, stream(Lane::compute));
  }
  // Counters, flags and caches start at zero.
  for (const Buffer& b : program_.buffers) {
    if (!b.persistent || b.view || b.borrowed) continue;
    cuda_check(cudaMemsetAsync(memory(b.name), 0, static_cast<size_t>(b.bytes()), stream(Lane::compute)),
               "clearing a buffer");
  }
  wait();
}

std::byte* CudaMachine::root_memory(BufferId root) const {
  const Buffer& b = program_.buffer(root);
  if (!b.borrowed) return arenas_.at(b.home).get() + b.offset_bytes.value();
  CHECK(options_.lender != nullptr, "buffer {} is borrowed and there is no lender", b.name);
  return options_.lender->memory(b.name);
}

std::byte* CudaMachine::memory(const std::string& buffer, int64_t slot) const {
  const auto it = names_.find(buffer);
  CHECK(it != names_.end(), "there is no buffer {}", buffer);
  int64_t element = 0;
  const BufferId root_id = program_.root(it->second, &element);
  const Buffer& root = program_.buffer(root_id);
  CHECK(slot >= 0 && slot < (root.ring ? root.ring->slots : 1), "slot {} of buffer {}", slot, buffer);
  return root_memory(root_id) + element * size_of(root.dtype) + slot * align_up(root.slot_bytes());
}

NonFiniteElements CudaMachine::non_finite(const Buffer& buffer) const {
  wait();
  return count_non_finite(memory(buffer.name), buffer.dtype, buffer.elements(), stream(Lane::compute));
}

// Slots are written while an earlier step runs, anything else behind it.
void CudaMachine::write(const std::string& buffer, std::span<const std::byte> bytes, int64_t slot) {
  std::byte* to = memory(buffer, slot);
  const BufferId id = names_.at(buffer);
  CHECK(static_cast<int64_t>(bytes.size()) == program_.buffer(id).slot_bytes(), "size of {}", buffer);
  CUstream_st* const on = program_.buffer(program_.root(id)).ring ? upload_.get() : stream(Lane::compute);
  staging_->to_device(to, bytes, on);
}

void CudaMachine::read(const std::string& buffer, std::span<std::byte> bytes, int64_t slot) const {
  const std::byte* from = memory(buffer, slot);
  CHECK(static_cast<int64_t>(bytes.size()) == program_.buffer(names_.at(buffer)).slot_bytes(), "size of {}", buffer);
  staging_->to_host(bytes, from, stream(Lane::compute));
}

void CudaMachine::write_elements(const std::string& buffer, int64_t first, std::span<const std::byte> bytes) {
  const Buffer& b = program_.buffer(names_.at(buffer));
  const auto begin = first * size_of(b.dtype);
  CHECK(first >= 0 && begin + static_cast<int64_t>(bytes.size()) <= b.slot_bytes(), "elements of {}", buffer);
  staging_->to_device(memory(buffer) + begin, bytes, stream(Lane::compute));
}

void CudaMachine::read_elements(const std::string& buffer, int64_t first, std::span<std::byte> bytes) const {
  const Buffer& b = program_.buffer(names_.at(buffer));
  const auto begin = first * size_of(b.dtype);
  CHECK(first >= 0 && begin + static_cast<int64_t>(bytes.size()) <= b.slot_bytes(), "elements of {}", buffer);
  staging_->to_host(bytes, memory(buffer) + begin, stream(Lane::compute));
}

}  // namespace centavo
