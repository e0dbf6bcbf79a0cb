// A product of bf16 in one kernel with what follows it, for compute capability 9.0: what such kernels share. Sums
// are carried in f32 along K, 16 terms at a time, for every element, and rounded to bf16 once.
//
// A block makes tiles of 128 x 256 of the product. Its threads, the crew, have four roles:
//   thread 0      fills a ring of tiles of A and B, 64 along the summed dimension each (the kernel's own)
//   multipliers   two warpgroups multiply 64 rows each, lay a tile's rounded sums out in shared memory and begin the
//                 next tile (multiply_tiles)
//   senders       take them from there while the next tile is multiplied (the kernel's own)
// So the tensor cores wait for rounding alone. Without the senders a tile's end took 6500 cycles of them, as many as
// six places of the ring.
//
// Blocks stay and take tiles in turn. Pairs of blocks (clusters) take tiles of the same columns and neighbouring rows;
// each block fetches half of B's tile for both.
#pragma once

#include "ops/cuda/bulk_copies.cuh"
#include "ops/cuda/cluster.cuh"
#include "ops/cuda/mma.cuh"
#include "ops/cuda/tensor_map.cuh"
#include "ops/cuda/warpgroup_mma.cuh"

namespace centavo {

constexpr int kTileRows = 128;
constexpr int kTileColumns = 256;
constexpr int kTileDepth = 64;
constexpr int kTileAlignment = 1024;
constexpr int kPlaces = 3;  // of the ring
constexpr int kClusterBlocks = 2;
constexpr int kMultipliers = 2;  // warpgroups
constexpr int kMultiplierRows = kTileRows / kMultipliers;
constexpr int kHalfColumns = kTileColumns / kClusterBlocks;  // of B's tile that a block fetches
constexpr int kBoxes = kTileColumns / kBoxColumns;           // of a multiplier's sums
constexpr int kBoxElements = kMultiplierRows * kBoxColumns;
constexpr int kHalfElements = kHalfColumns * kTileDepth;

// Three warps of senders beside the warp of thread 0.
struct SmallCrew {
  static constexpr int kThreads = 3 * kWarpgroup;
  static constexpr int kFirstSender = 32;
  static constexpr int kSenders = 96;
  static constexpr int kFirstMultiplier = kWarpgroup;
  static constexpr int kColumns = 256;  // of an instruction
  static __device__ void filler_registers() {}
  static __device__ void sender_registers() {}
  static __device__ void multiplier_registers() {}
};

// A warpgroup of senders. The 128 registers that 512 threads can have at the start are too few for the compiler to take
// instructions of 256 columns: it is two of 128, which read A twice.
struct LargeCrew {
  static constexpr int kThreads = 4 * kWarpgroup;
  static constexpr int kFirstSender = kWarpgroup;
  static constexpr int kSenders = kWarpgroup;
  static constexpr int kFirstMultiplier = 2 * kWarpgroup;
  static constexpr int kColumns = 128;
  static __device__ void filler_registers() { shrink_registers<24>(); }
  static __device__ void sender_registers() { shrink_registers<120>(); }
  static __device__ void multiplier_registers() { grow_registers<184>(); }
};

// Tiles in shared memory, as bulk copies leave and take them; starts at a multiple of kTileAlignment.
struct ProductShared {
  __nv_bfloat16 a[kPlaces][kTileRows * kTileDepth];
  __nv_bfloat16 b[kPlaces][kClusterBlocks * kHalfElements];
  __nv_bfloat16 sums[kMultipliers][kBoxes][kBoxElements];
};
constexpr uint32_t kPlaceBytes = sizeof(ProductShared::a[0]) + sizeof(ProductShared::b[0]);
constexpr int kProductSharedBytes = sizeof(ProductShared) + kTileAlignment;

struct ProductBarriers {
  uint64_t full[kPlaces], empty[kPlaces];
  uint64_t laid_out[kMultipliers], taken[kMultipliers];
};

// Pairs of tiles are taken in bands of `band` rows of pairs, down a band first: the band's rows of A stay in the L2
// cache while B goes by.
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

// The pairs of this cluster, in the order that all roles keep.
__device__ inline int first_pair() { return static_cast<int>(blockIdx.x) / kClusterBlocks; }
__device__ inline int pairs_apart() { return static_cast<int>(gridDim.x) / kClusterBlocks; }

// This block's tile of a pair: its first row, and the number of its column of tiles.
__device__ inline TileOrder::Place tile_of(const TileOrder& order, int pair) {
  const auto [row, column] = order.at(pair);
  return {(row * kClusterBlocks + cluster_block()) * kTileRows, column};
}

// Calls f(first row, number of the column of tiles) for each tile of this block.
template <class F>
__device__ inline void for_each_tile(const TileOrder& order, F&& f) {
  for (int pair = first_pair(); pair < order.pairs(); pair += pairs_apart()) {
    const auto [row, column] = tile_of(order, pair);
    f(row, column);
  }
}

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

// Where this block's dynamic memory has room for it.
__device__ inline ProductShared& product_shared(char* memory) {
  const uint32_t beyond = shared_address(memory) % kTileAlignment;
  return *reinterpret_cast<ProductShared*>(memory + (kTileAlignment - beyond) % kTileAlignment);
}

// All threads of both blocks.
template <class Crew>
__device__ inline void make_barriers(ProductBarriers& barriers) {
  if (threadIdx.x == 0) {
    for (int at = 0; at < kPlaces; ++at) {
      init_barrier(&barriers.full[at], 1);
      init_barrier(&barriers.empty[at], kMultipliers * kClusterBlocks);
    }
    for (int m = 0; m < kMultipliers; ++m) {
      init_barrier(&barriers.laid_out[m], kWarpgroup);
      init_barrier(&barriers.taken[m], Crew::kSenders);
    }
    fence_barrier_init();
  }
  __syncthreads();
  cluster_arrive();
  cluster_wait();
}

// Before a block ends: the other one may still write here, or arrive. All threads.
__device__ inline void end_together() {
  __syncwarp();
  cluster_arrive();
  cluster_wait();
}

// 64 columns of a multiplier's sums, rounded, two neighbouring columns a word: [column / 8][row / 8 % 2].
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

// Where the 8 columns `part` of a row begin in a box.
__device__ inline int place_in_box(int row, int part) { return row * kBoxColumns + (part ^ (row % 8)) * 8; }

// A lane gives the place of 8 columns of row lane % 16 of its warp.
__device__ inline void lay_out(const RoundedBox& box, __nv_bfloat16* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % kWarpgroup / 32 * 16 + lane % 16;
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    store_matrices({{box.at[j][0], box.at[j][1], box.at[j + 1][0], box.at[j + 1][1]}},
                   to + place_in_box(row, j + lane / 16));
  }
}

// This warpgroup is through with a place, for both blocks: either fills it.
__device__ inline void release(ProductBarriers& barriers, int at) {
  const uint32_t thread = threadIdx.x % kWarpgroup;
  if (thread < kClusterBlocks) arrive_at(&barriers.empty[at], thread);
}

// All 256 columns, 16 along the summed dimension from number `k` of these on.
template <BOrder kOrder, int kColumns>
__device__ inline void multiply_step(float (&sums)[128], uint64_t a, const __nv_bfloat16* b, int k, bool adds) {
  const uint64_t first = b_descriptor<kOrder, kTileDepth>(b, k * kProductDepth);
  if constexpr (kColumns == kTileColumns) {
    multiply_64x256<kOrder>(sums, a + k * kDescriptorStep, first, adds);
  } else {
    const uint64_t second = b_descriptor<kOrder, kTileDepth>(b + kHalfElements, k * kProductDepth);
    multiply_64x128<kOrder, 0>(sums, a + k * kDescriptorStep, first, adds);
    multiply_64x128<kOrder, 64>(sums, a + k * kDescriptorStep, second, adds);
  }
}

// Sums over `depth` places from `place` on; the last is released.
template <BOrder kOrder, int kColumns>
__device__ inline void multiply_tile(ProductShared& shared, ProductBarriers& barriers, int multiplier, int depth,
                                     RingPlace& place, float (&sums)[128]) {
  int last = 0;
  for (int d = 0; d < depth; ++d, place.advance()) {
    wait_barrier(&barriers.full[place.at], place.parity);
    const uint64_t a = tile_descriptor(shared.a[place.at] + multiplier * kMultiplierRows * kTileDepth);
    begin_products();
#pragma unroll
    for (int k = 0; k < kTileDepth / kProductDepth; ++k) {
      multiply_step<kOrder, kColumns>(sums, a, shared.b[place.at], k, d > 0 || k > 0);
    }
    commit_products();
    wait_for_products_but<1>();
    if (d > 0) release(barriers, last);
    last = place.at;
  }
  wait_for_products_but<0>();
  settle(sums);
  release(barriers, last);
}

// The role of the multipliers: all threads from Crew::kFirstMultiplier on. `depth` is K in tiles.
template <class Crew, BOrder kOrder>
__device__ inline void multiply_tiles(ProductShared& shared, ProductBarriers& barriers, const TileOrder& order,
                                      int depth) {
  const int multiplier = (static_cast<int>(threadIdx.x) - Crew::kFirstMultiplier) / kWarpgroup;
  RingPlace place;
  uint32_t parity = 1;  // nothing was laid out before: what there is to take is taken
  float sums[128] = {};
  for_each_tile(order, [&](int, int) {
    multiply_tile<kOrder, Crew::kColumns>(shared, barriers, multiplier, depth, place, sums);
    wait_barrier(&barriers.taken[multiplier], parity);
    parity ^= 1;
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) {
      lay_out(rounded(sums, box * kBoxColumns), shared.sums[multiplier][box]);
    }
    fence_for_copies();
    arrive(&barriers.laid_out[multiplier]);
  });
}

}  // namespace centavo
