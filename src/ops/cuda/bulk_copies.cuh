// Copies of whole tiles by the bulk copy engine (TMA), and the barriers in shared memory that count them. Compute
// capability 9.0 and above; nothing here may be called on other devices.
//
// A tile is a box of a matrix that a map describes (tensor_map.cuh). Rows of a tile are 128 bytes, and of eight rows
// the 16-byte parts are swapped: part p of row r lies where part p ^ (r % 8) would. Parts of a box outside the matrix
// are read as zeros and not written. A barrier completes a phase when all its arrivals and all the bytes expected of it
// are there; phases are told apart by their parity.
//
// Source: NVIDIA, "PTX ISA", sections on mbarrier, cp.async.bulk.tensor and fence.proxy.
#pragma once

#include <cuda.h>

#include "ops/cuda/copies.cuh"

namespace centavo {

__device__ inline void init_barrier(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Behind init_barrier, before a barrier of the cluster or of the block makes them known.
__device__ inline void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Waits for the end of the phase of this parity.
__device__ inline void wait_barrier(uint64_t* barrier, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  }
}

// One arrival, and so many bytes more that the phase waits for.
__device__ inline void arrive_expecting(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

__device__ inline void arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// One arrival at the barrier in the same place of another block of the cluster (or of this one). It tells of reads that
// have ended and publishes no writes to the other block: that would take a fence of about a thousand cycles.
__device__ inline void arrive_at(uint64_t* barrier, uint32_t block) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(block)
      : "memory");
}

// The box whose first element is (row, column) to shared memory; its bytes count at `barrier`. One thread.
__device__ inline void load_box(void* to, const CUtensorMap* map, int row, int column, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
      "[%4];" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}

// The same for all blocks of the cluster whose bit is set in `blocks`, to the same place and barrier of each.
__device__ inline void load_box_for(uint16_t blocks, void* to, const CUtensorMap* map, int row, int column,
                                    uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(blocks)
      : "memory");
}

// What threads wrote to shared memory becomes visible to copies begun behind a barrier that follows.
__device__ inline void fence_for_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// A box from shared memory. One thread; it closes a group with commit_boxes and waits with wait_for_boxes_but.
__device__ inline void store_box(const CUtensorMap* map, int row, int column, const void* from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
               "r"(column), "r"(row), "r"(shared_address(from))
               : "memory");
}

__device__ inline void commit_boxes() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Until the shared memory of all but the kPending youngest groups has been read.
template <int kPending>
__device__ inline void wait_for_boxes_but() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

}  // namespace centavo
