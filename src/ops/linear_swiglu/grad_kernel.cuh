// ds = dy W and dgate_up[, s] = swiglu_grad(ds, gate_up) in one kernel (ops/cuda/product_tiles.cuh); ds stays in shared
// memory.
//
// A tile is 256 columns of ds. W lies with the summed dimension down its rows. The senders read gate and up of the next
// rows while they make the gradient of the rounded ds for these, and write it.
#pragma once

#include "ops/cuda/floats.cuh"
#include "ops/cuda/product_tiles.cuh"
#include "ops/swiglu/swiglu_of.cuh"

namespace centavo {

struct LinearDxSwiGluGradMaps {
  CUtensorMap dy, weight;
};

struct LinearDxSwiGluGradSizes {
  TileOrder order;
  int depth = 0;    // C in tiles
  int rows = 0;     // of ds
  int columns = 0;  // of ds
};

struct SwiGluGradOperands {
  const __nv_bfloat16* gate_up = nullptr;
  __nv_bfloat16* dgate_up = nullptr;
  __nv_bfloat16* s = nullptr;
};

// One thread. Each block fetches two of W's four boxes for both.
__device__ inline void fill_ring(ProductShared& shared, ProductBarriers& barriers, const LinearDxSwiGluGradMaps& maps,
                                 const LinearDxSwiGluGradSizes& sizes) {
  constexpr uint16_t kBothBlocks = 3;
  constexpr int kBoxOfWeight = kTileDepth * kBoxColumns;
  const int block = cluster_block();
  RingPlace place;
  for_each_tile(sizes.order, [&](int row, int tile_column) {
    const int column = tile_column * kTileColumns;
    for (int d = 0; d < sizes.depth; ++d, place.advance()) {
      uint64_t* const full = &barriers.full[place.at];
      wait_barrier(&barriers.empty[place.at], place.parity ^ 1);
      arrive_expecting(full, kPlaceBytes);
      load_box(shared.a[place.at], &maps.dy, row, d * kTileDepth, full);
#pragma unroll
      for (int box = 0; box < kBoxes / kClusterBlocks; ++box) {
        const int of_tile = block * kBoxes / kClusterBlocks + box;
        load_box_for(kBothBlocks, shared.b[place.at] + of_tile * kBoxOfWeight, &maps.weight, d * kTileDepth,
                     column + of_tile * kBoxColumns, full);
      }
    }
  });
}

// What a sender takes at a time: 8 columns of kSentRows rows, its warp the tile's 256.
template <class Crew>
class Portion {
 public:
  static constexpr int kWarps = Crew::kSenders / 32;
  static constexpr int kSentRows = 4;                                                                  // of a warp
  static constexpr int kPortions = (kMultiplierRows + kWarps * kSentRows - 1) / (kWarps * kSentRows);  // a multiplier's

  // Number i of a tile's. Past the end of the matrix or of a multiplier's rows the last there is, so that no load
  // stands under a branch.
  __device__ void load(const SwiGluGradOperands& operands, const LinearDxSwiGluGradSizes& sizes,
                       const TileOrder::Place& tile, int i) {
    const int column = min(column_of(tile), sizes.columns - kVector);
#pragma unroll
    for (int j = 0; j < kSentRows; ++j) {
      const int row = min(first_row(tile, i) + min(row_of(i, j), kMultiplierRows - 1), sizes.rows - 1);
      const __nv_bfloat16* from = operands.gate_up + 2 * static_cast<int64_t>(row) * sizes.columns + column;
      gate_[j] = Columns::load_streaming(from);
      up_[j] = Columns::load_streaming(from + sizes.columns);
    }
  }

  // Row by row: all at once takes more registers than there are.
  template <bool kWithS>
  __device__ void make_and_send(const __nv_bfloat16 (&ds)[kBoxes][kBoxElements], const SwiGluGradOperands& operands,
                                const LinearDxSwiGluGradSizes& sizes, const TileOrder::Place& tile, int i) {
    constexpr int kPartsOfBox = kBoxColumns / kVector;
    const __nv_bfloat16* const box = ds[lane() / kPartsOfBox];
    const int column = column_of(tile);
#pragma unroll
    for (int j = 0; j < kSentRows; ++j) {
      const int row = first_row(tile, i) + row_of(i, j);
      if (row_of(i, j) >= kMultiplierRows || row >= sizes.rows || column >= sizes.columns) continue;
      Columns s = Columns::load(box + place_in_box(row_of(i, j), lane() % kPartsOfBox));
      gradient_of(s, gate_[j], up_[j]);
      const int64_t at = static_cast<int64_t>(row) * sizes.columns;
      gate_[j].store_streaming(operands.dgate_up + 2 * at + column);
      up_[j].store_streaming(operands.dgate_up + 2 * at + column + sizes.columns);
      if constexpr (kWithS) s.store_streaming(operands.s + at + column);
    }
  }

 private:
  using Columns = Vec<__nv_bfloat16>;
  static constexpr int kVector = Columns::size;

  // From ds, gate and up to s, dgate and dup, in their places.
  __device__ static void gradient_of(Columns& ds, Columns& gate, Columns& up) {
    float s[kVector], g[kVector], u[kVector];
    unpack(ds.at, s);
    unpack(gate.at, g);
    unpack(up.at, u);
#pragma unroll
    for (int e = 0; e < kVector; ++e) swiglu_grad_of<__nv_bfloat16>(s[e], g[e], u[e]);
    pack(s, ds.at);
    pack(g, gate.at);
    pack(u, up.at);
  }

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int column_of(const TileOrder::Place& tile) {
    return tile.column * kTileColumns + lane() * kVector;
  }
  __device__ static int first_row(const TileOrder::Place& tile, int i) {
    return tile.row + i / kPortions * kMultiplierRows;
  }
  // Among a multiplier's rows.
  __device__ static int row_of(int i, int j) {
    return (i % kPortions * kSentRows + j) * kWarps + (static_cast<int>(threadIdx.x) - Crew::kFirstSender) / 32;
  }

  Columns gate_[kSentRows], up_[kSentRows];
};

// All senders.
template <class Crew, bool kWithS>
__device__ inline void send_tiles(ProductShared& shared, ProductBarriers& barriers, const SwiGluGradOperands& operands,
                                  const LinearDxSwiGluGradSizes& sizes) {
  constexpr int kPortions = Portion<Crew>::kPortions;
  const int last_pair = sizes.order.pairs() - 1;
  uint32_t parity = 0;
  Portion<Crew> portion;
  portion.load(operands, sizes, tile_of(sizes.order, first_pair()), 0);
  for (int pair = first_pair(); pair <= last_pair; pair += pairs_apart()) {
    const TileOrder::Place tile = tile_of(sizes.order, pair);
    const TileOrder::Place next_tile = tile_of(sizes.order, min(pair + pairs_apart(), last_pair));
#pragma unroll 2
    for (int i = 0; i < kMultipliers * kPortions; ++i) {
      const bool ends = i + 1 == kMultipliers * kPortions;
      Portion<Crew> next;
      next.load(operands, sizes, ends ? next_tile : tile, ends ? 0 : i + 1);
      const int multiplier = i / kPortions;
      if (i % kPortions == 0) wait_barrier(&barriers.laid_out[multiplier], parity);
      portion.template make_and_send<kWithS>(shared.sums[multiplier], operands, sizes, tile, i);
      if (i % kPortions == kPortions - 1) arrive(&barriers.taken[multiplier]);
      portion = next;
    }
    parity ^= 1;
  }
}

template <class Crew, bool kWithS>
__global__ void __launch_bounds__(Crew::kThreads, 1)
    linear_dx_swiglu_grad_tiles(const __grid_constant__ LinearDxSwiGluGradMaps maps,
                                const LinearDxSwiGluGradSizes sizes, const SwiGluGradOperands operands) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ char memory[];
  __shared__ ProductBarriers barriers;
  ProductShared& shared = product_shared(memory);
  make_barriers<Crew>(barriers);
  if (threadIdx.x >= Crew::kFirstMultiplier) {
    Crew::multiplier_registers();
    multiply_tiles<Crew, BOrder::down_rows>(shared, barriers, sizes.order, sizes.depth);
  } else if (threadIdx.x >= Crew::kFirstSender) {
    Crew::sender_registers();
    send_tiles<Crew, kWithS>(shared, barriers, operands, sizes);
  } else {
    Crew::filler_registers();
    if (threadIdx.x == 0) fill_ring(shared, barriers, maps, sizes);
  }
  end_together();
#endif
}

}  // namespace centavo
