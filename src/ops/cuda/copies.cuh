// Copies to shared memory behind the threads' backs. A thread waits for its own; others see them after a barrier.
//
// Source: NVIDIA, "PTX ISA", sections on cp.async.
#pragma once

#include <cstdint>

namespace centavo {

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Copies 16 bytes, past the L1 cache, or zeros; both addresses are multiples of 16.
__device__ inline void copy_async_16(void* shared, const void* global, bool zeros) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(zeros ? 0 : 16)
               : "memory");
}

__device__ inline void copy_async_4(void* shared, const void* global, bool zeros) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(zeros ? 0 : 4)
               : "memory");
}

// Until all copies of this thread have arrived; other threads see them after a barrier.
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Closes a group of the copies begun since the last one; it may be empty.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until no more than the kPending youngest groups are on their way.
template <int kPending>
__device__ inline void wait_for_copies_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace centavo
