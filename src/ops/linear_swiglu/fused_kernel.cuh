// gate_up = h W^T and s = swiglu(gate_up) in one kernel, for compute capability 9.0.
//
// A block makes tiles of 128 rows and 128 columns of s, so of 128 columns of gate and the 128 of up that belong to
// them: W's tile is two boxes, and gate and up of an element are sums of the same thread. Three warpgroups: one thread
// of the first fills a ring of tiles of h and W, 64 along the summed dimension each; the other two multiply 64 rows
// each. When a tile's sums are complete they are rounded, and gate, up and s leave through shared memory, 64 columns at
// a time, while the ring is filled for the next tile. The second of the two starts some places of the ring behind the
// first and stays there, so that one multiplies while the other sends its sums away.
//
// Blocks stay and take tiles in turn. Pairs of blocks (clusters) take tiles of the same columns and neighbouring rows;
// each block fetches one of W's two boxes for both.
//
// Order of sums: along K, 16 at a time, for every element, whatever the tiles.
#pragma once

#include <algorithm>

#include "ops/cuda/bulk_copies.cuh"
#include "ops/cuda/cluster.cuh"
#include "ops/cuda/tensor_map.cuh"
#include "ops/cuda/warpgroup_mma.cuh"
#include "ops/swiglu/swiglu_of.cuh"

namespace centavo {

constexpr int kTileRows = 128;
constexpr int kTileColumns = 128;  // of s
constexpr int kTileDepth = 64;
constexpr int kTileAlignment = 1024;
constexpr int kPlaces = 4;  // of the ring
constexpr int kClusterBlocks = 2;
constexpr int kConsumers = 2;  // warpgroups that multiply
constexpr int kLag = 2;        // places that the second starts behind the first
constexpr int kWarpgroupRows = kTileRows / kConsumers;
constexpr int kFusedThreads = kWarpgroup * (1 + kConsumers);
constexpr int kBoxElements = kWarpgroupRows * kBoxColumns;  // of what leaves at a time
constexpr int kGateElements = kTileColumns * kTileDepth;    // of W's first box
constexpr int kProducerRegisters = 40;
constexpr int kConsumerRegisters = 232;

struct FusedMaps {
  CUtensorMap h, weight, gate, up, s;
};

// Pairs of tiles are taken in bands of `band` rows of pairs, down a band first: the band's rows of h stay in the L2
// cache while W goes by.
struct TileOrder {
  int rows = 0;     // of pairs
  int columns = 0;  // of tiles
  int band = 1;

  struct Place {
    int row, column;
  };
  __host__ __device__ int pairs() const { return rows * columns; }
  __device__ Place at(int i) const {
    const int first = i / (band * columns) * band;
    const int inside = i - first * columns;
    const int high = min(band, rows - first);
    return {first + inside % high, inside / high};
  }
};

struct FusedSizes {
  TileOrder order;
  int depth = 0;    // K in tiles
  int columns = 0;  // of s
};

struct FusedShared {
  __nv_bfloat16 h[kPlaces][kTileRows * kTileDepth];
  __nv_bfloat16 weight[kPlaces][2 * kGateElements];
  __nv_bfloat16 leaving[kConsumers][2][kBoxElements];
};

struct RingBarriers {
  uint64_t full[kPlaces];
  uint64_t empty[kPlaces];
};

// A place of the ring, and the parity of the phase in which it is filled.
struct RingPlace {
  int at = 0;
  uint32_t parity = 0;

  __device__ void advance() {
    if (++at == kPlaces) {
      at = 0;
      parity ^= 1;
    }
  }
};

// The first element of this block's tile of a pair.
struct Corner {
  int row, column;
};

__device__ inline Corner corner_of(const FusedSizes& sizes, int pair, int block) {
  const auto [row, column] = sizes.order.at(pair);
  return {(row * kClusterBlocks + block) * kTileRows, column * kTileColumns};
}

// Calls f(corner) for each tile of this block.
template <class F>
__device__ inline void for_each_tile(const FusedSizes& sizes, int block, F&& f) {
  const int clusters = static_cast<int>(gridDim.x) / kClusterBlocks;
  for (int pair = static_cast<int>(blockIdx.x) / kClusterBlocks; pair < sizes.order.pairs(); pair += clusters) {
    f(corner_of(sizes, pair, block));
  }
}

// One thread.
__device__ inline void fill_ring(FusedShared& shared, RingBarriers& ring, const FusedMaps& maps,
                                 const FusedSizes& sizes) {
  constexpr uint32_t kBytes = sizeof(shared.h[0]) + sizeof(shared.weight[0]);
  constexpr uint16_t kBoth = 3;
  const int block = cluster_block();
  RingPlace place;
  for_each_tile(sizes, block, [&](Corner corner) {
    const int weight_row = corner.column + (block == 0 ? 0 : sizes.columns);  // gate or up
    for (int depth = 0; depth < sizes.depth; ++depth, place.advance()) {
      uint64_t* const full = &ring.full[place.at];
      wait_barrier(&ring.empty[place.at], place.parity ^ 1);
      arrive_expecting(full, kBytes);
      load_box(shared.h[place.at], &maps.h, corner.row, depth * kTileDepth, full);
      load_box_for(kBoth, shared.weight[place.at] + block * kGateElements, &maps.weight, weight_row, depth * kTileDepth,
                   full);
    }
  });
}

// 64 columns of a warpgroup's sums, rounded, two neighbouring columns a word: [column / 8][row / 8 % 2].
struct RoundedBox {
  uint32_t at[8][2];
};

__device__ inline RoundedBox rounded(const float (&sums)[128], int first_column) {
  RoundedBox box;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* pair = sums + 4 * (first_column / 8 + j) + 2 * half;
      box.at[j][half] = pack_bf16(pair[0], pair[1]);
    }
  }
  return box;
}

__device__ inline uint32_t swiglu_of_words(uint32_t gate, uint32_t up) {
  const auto low = [](uint32_t word) { return __uint_as_float(word << 16); };
  const auto high = [](uint32_t word) { return __uint_as_float(word & 0xffff0000u); };
  return pack_bf16(swiglu_of<__nv_bfloat16>(low(gate), low(up)), swiglu_of<__nv_bfloat16>(high(gate), high(up)));
}

__device__ inline RoundedBox swiglu_of_boxes(const RoundedBox& gate, const RoundedBox& up) {
  RoundedBox s;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) s.at[j][half] = swiglu_of_words(gate.at[j][half], up.at[j][half]);
  }
  return s;
}

// To shared memory as the bulk copies want it: a lane gives the place of 8 columns of row lane % 16 of its warp.
__device__ inline void lay_out(const RoundedBox& box, __nv_bfloat16* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % kWarpgroup / 32 * 16 + lane % 16;
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    const int part = (j + lane / 16) ^ (row % 8);
    store_matrices({box.at[j][0], box.at[j][1], box.at[j + 1][0], box.at[j + 1][1]}, to + row * kBoxColumns + part * 8);
  }
}

// Sends the boxes of one warpgroup away, through two buffers in turn.
class Departure {
 public:
  __device__ Departure(__nv_bfloat16 (*buffers)[kBoxElements], int warpgroup)
      : buffers_(buffers), barrier_(1 + warpgroup), leads_(threadIdx.x % kWarpgroup == 0) {}

  __device__ void send(const RoundedBox& box, int turn, const CUtensorMap* map, Corner corner) const {
    __nv_bfloat16* const buffer = buffers_[turn % 2];
    if (leads_) wait_for_boxes_but<1>();
    named_barrier(barrier_, kWarpgroup);
    lay_out(box, buffer);
    fence_for_copies();
    named_barrier(barrier_, kWarpgroup);
    if (!leads_) return;
    store_box(map, corner.row, corner.column, buffer);
    commit_boxes();
  }

  // Before the block ends.
  __device__ void finish() const {
    if (leads_) wait_for_boxes_but<0>();
  }

 private:
  __nv_bfloat16 (*buffers_)[kBoxElements];
  int barrier_;
  bool leads_;
};

__device__ inline void send_tile(const float (&sums)[128], const Departure& departure, const FusedMaps& maps,
                                 Corner corner) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const RoundedBox gate = rounded(sums, half * kBoxColumns);
    const RoundedBox up = rounded(sums, kTileColumns + half * kBoxColumns);
    departure.send(gate, 3 * half, &maps.gate, corner);
    departure.send(up, 3 * half + 1, &maps.up, corner);
    departure.send(swiglu_of_boxes(gate, up), 3 * half + 2, &maps.s, corner);
    corner.column += kBoxColumns;
  }
}

// The second warpgroup waits here until the first is `kLag` places ahead.
class HeadStart {
 public:
  __device__ HeadStart(int warpgroup, int depth) : leads_(warpgroup == 0), left_(min(kLag, depth)) {
    if (!leads_) named_barrier(kBarrier, kConsumers * kWarpgroup);
  }
  __device__ void one_further() {
    if (leads_ && left_ > 0 && --left_ == 0) arrive_named(kBarrier, kConsumers * kWarpgroup);
  }

 private:
  static constexpr int kBarrier = 1 + kConsumers;
  bool leads_;
  int left_;
};

// This warpgroup is through with a place, for both blocks: either may have filled it.
__device__ inline void release(RingBarriers& ring, int at) {
  const uint32_t thread = threadIdx.x % kWarpgroup;
  if (thread < kClusterBlocks) arrive_at(&ring.empty[at], thread);
}

// All of a warpgroup.
__device__ inline void multiply_tiles(FusedShared& shared, RingBarriers& ring, const FusedMaps& maps,
                                      const FusedSizes& sizes, int warpgroup) {
  const Departure departure(shared.leaving[warpgroup], warpgroup);
  HeadStart head_start(warpgroup, sizes.depth);
  RingPlace place;
  float sums[128] = {};
  for_each_tile(sizes, cluster_block(), [&](Corner corner) {
    int last = 0;
    for (int depth = 0; depth < sizes.depth; ++depth, place.advance()) {
      wait_barrier(&ring.full[place.at], place.parity);
      const uint64_t h = tile_descriptor(shared.h[place.at] + warpgroup * kWarpgroupRows * kTileDepth);
      const uint64_t weight = tile_descriptor(shared.weight[place.at]);
      begin_products();
#pragma unroll
      for (int k = 0; k < kTileDepth / kProductDepth; ++k) {
        multiply_64x256(sums, h + k * kDescriptorStep, weight + k * kDescriptorStep, depth > 0 || k > 0);
      }
      commit_products();
      wait_for_products_but<1>();
      if (depth > 0) release(ring, last);
      last = place.at;
      head_start.one_further();
    }
    wait_for_products_but<0>();
    settle(sums);
    release(ring, last);
    send_tile(sums, departure, maps, {corner.row + warpgroup * kWarpgroupRows, corner.column});
  });
  departure.finish();
}

__device__ inline void make_ring(RingBarriers& ring) {
  if (threadIdx.x == 0) {
    for (int at = 0; at < kPlaces; ++at) {
      init_barrier(&ring.full[at], 1);
      init_barrier(&ring.empty[at], kConsumers * kClusterBlocks);
    }
    fence_barrier_init();
  }
  __syncthreads();
  cluster_arrive();
  cluster_wait();
}

__global__ void __launch_bounds__(kFusedThreads, 1)
    linear_swiglu_tiles(const __grid_constant__ FusedMaps maps, const FusedSizes sizes) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ char memory[];
  __shared__ RingBarriers ring;
  const uint32_t beyond = shared_address(memory) % kTileAlignment;
  auto& shared = *reinterpret_cast<FusedShared*>(memory + (kTileAlignment - beyond) % kTileAlignment);
  make_ring(ring);
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (warpgroup == 0) {
    shrink_registers<kProducerRegisters>();
    if (threadIdx.x == 0) fill_ring(shared, ring, maps, sizes);
    __syncwarp();
  } else {
    grow_registers<kConsumerRegisters>();
    multiply_tiles(shared, ring, maps, sizes, warpgroup - 1);
  }
  // The other block may still write here, or arrive.
  cluster_arrive();
  cluster_wait();
#endif
}

}  // namespace centavo
