// gate_up = h W^T and s = swiglu(gate_up) in one kernel (ops/cuda/product_tiles.cuh).
//
// A tile of the product is 128 columns of gate and the 128 of up that belong to them: the two halves of W's tile. The
// senders send both away and make s of them, 8 elements at a time from shared to global memory.
#pragma once

#include "ops/cuda/product_tiles.cuh"
#include "ops/swiglu/swiglu_of.cuh"

namespace centavo {

struct LinearSwiGluMaps {
  CUtensorMap h, weight, gate, up;
};

struct LinearSwiGluSizes {
  TileOrder order;
  int depth = 0;    // K in tiles
  int rows = 0;     // of s
  int columns = 0;  // of s
};

// One thread.
__device__ inline void fill_ring(ProductShared& shared, ProductBarriers& barriers, const LinearSwiGluMaps& maps,
                                 const LinearSwiGluSizes& sizes) {
  constexpr uint16_t kBothBlocks = 3;
  const int block = cluster_block();
  RingPlace place;
  for_each_tile(sizes.order, [&](int row, int tile_column) {
    const int weight_row = tile_column * kHalfColumns + (block == 0 ? 0 : sizes.columns);  // of gate or up
    for (int d = 0; d < sizes.depth; ++d, place.advance()) {
      uint64_t* const full = &barriers.full[place.at];
      wait_barrier(&barriers.empty[place.at], place.parity ^ 1);
      arrive_expecting(full, kPlaceBytes);
      load_box(shared.a[place.at], &maps.h, row, d * kTileDepth, full);
      load_box_for(kBothBlocks, shared.b[place.at] + block * kHalfElements, &maps.weight, weight_row, d * kTileDepth,
                   full);
    }
  });
}

__device__ inline uint32_t swiglu_of_words(uint32_t gate, uint32_t up) {
  const auto low = [](uint32_t word) { return __uint_as_float(word << 16); };
  const auto high = [](uint32_t word) { return __uint_as_float(word & 0xffff0000u); };
  return pack_bf16(swiglu_of<__nv_bfloat16>(low(gate), low(up)), swiglu_of<__nv_bfloat16>(high(gate), high(up)));
}

__device__ inline uint4 swiglu_of_vectors(const __nv_bfloat16* gate, const __nv_bfloat16* up) {
  const uint4 g = *reinterpret_cast<const uint4*>(gate);
  const uint4 u = *reinterpret_cast<const uint4*>(up);
  return {swiglu_of_words(g.x, u.x), swiglu_of_words(g.y, u.y), swiglu_of_words(g.z, u.z), swiglu_of_words(g.w, u.w)};
}

using Boxes = __nv_bfloat16[kBoxes][kBoxElements];  // two of gate, two of up

// One thread.
__device__ inline void send_gate_up(const Boxes& boxes, const LinearSwiGluMaps& maps, int row, int column) {
  store_box(&maps.gate, row, column, boxes[0]);
  store_box(&maps.gate, row, column + kBoxColumns, boxes[1]);
  store_box(&maps.up, row, column, boxes[2]);
  store_box(&maps.up, row, column + kBoxColumns, boxes[3]);
  commit_boxes();
}

// Each sender: 8 columns of every sixth row.
__device__ inline void send_s(const Boxes& boxes, const LinearSwiGluSizes& sizes, int row, int column,
                              __nv_bfloat16* s) {
  constexpr int kParts = kHalfColumns / 8;
  constexpr int kPartsOfBox = kBoxColumns / 8;
  const int sender = static_cast<int>(threadIdx.x) - SmallCrew::kFirstSender;
  const int part = sender % kParts;
  const __nv_bfloat16* const gate = boxes[part / kPartsOfBox];
  const __nv_bfloat16* const up = boxes[2 + part / kPartsOfBox];
  const bool inside = column + part * 8 < sizes.columns;
  __nv_bfloat16* const to = s + static_cast<int64_t>(row) * sizes.columns + column + part * 8;
#pragma unroll 2
  for (int r = sender / kParts; r < kMultiplierRows; r += SmallCrew::kSenders / kParts) {
    const int at = place_in_box(r, part % kPartsOfBox);
    const uint4 made = swiglu_of_vectors(gate + at, up + at);
    if (inside && row + r < sizes.rows) *reinterpret_cast<uint4*>(to + static_cast<int64_t>(r) * sizes.columns) = made;
  }
}

// All senders.
__device__ inline void send_tiles(ProductShared& shared, ProductBarriers& barriers, const LinearSwiGluMaps& maps,
                                  const LinearSwiGluSizes& sizes, __nv_bfloat16* s) {
  const bool leads = threadIdx.x == SmallCrew::kFirstSender;
  uint32_t parity = 0;
  for_each_tile(sizes.order, [&](int tile_row, int tile_column) {
    const int column = tile_column * kHalfColumns;
    for (int m = 0; m < kMultipliers; ++m) {
      const int row = tile_row + m * kMultiplierRows;
      wait_barrier(&barriers.laid_out[m], parity);
      if (leads) send_gate_up(shared.sums[m], maps, row, column);
      send_s(shared.sums[m], sizes, row, column, s);
      if (leads) wait_for_boxes_but<0>();
      arrive(&barriers.taken[m]);
    }
    parity ^= 1;
  });
}

__global__ void __launch_bounds__(SmallCrew::kThreads, 1)
    linear_swiglu_tiles(const __grid_constant__ LinearSwiGluMaps maps, const LinearSwiGluSizes sizes,
                        __nv_bfloat16* s) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ char memory[];
  __shared__ ProductBarriers barriers;
  ProductShared& shared = product_shared(memory);
  make_barriers<SmallCrew>(barriers);
  if (threadIdx.x >= SmallCrew::kFirstMultiplier) {
    multiply_tiles<SmallCrew, BOrder::along_rows>(shared, barriers, sizes.order, sizes.depth);
  } else if (threadIdx.x >= SmallCrew::kFirstSender) {
    send_tiles(shared, barriers, maps, sizes, s);
  } else if (threadIdx.x == 0) {
    fill_ring(shared, barriers, maps, sizes);
  }
  end_together();
#endif
}

}  // namespace centavo
