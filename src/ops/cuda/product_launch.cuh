// Whether and how a kernel of product_tiles.cuh runs: the host's side of it.
#pragma once

#include <algorithm>

#include "ops/cuda/product_tiles.cuh"
#include "ops/linear/product_cuda.h"

namespace centavo {

constexpr int kProductArchitecture = 90;
constexpr int kMapAlignment = 16;  // bytes
constexpr int kMapMultiple = 8;    // elements between rows
constexpr int kProductBand = 8;    // 16 tile rows of A, 15 MB at K = 3584
constexpr int64_t kMostExtent = int64_t{1} << 29;

// A product [rows, columns] over `depth`, `tile_columns` of the columns to a tile.
struct ProductExtents {
  int64_t rows = 0, depth = 0, columns = 0;
  int64_t tile_columns = kTileColumns;

  int depth_tiles() const { return static_cast<int>(ceil_div(depth, kTileDepth)); }
  TileOrder order() const {
    return {.rows = static_cast<int>(ceil_div(rows, kClusterBlocks * kTileRows)),
            .columns = static_cast<int>(ceil_div(columns, tile_columns)),
            .band = kProductBand};
  }
};

// On other GPUs, and without the instructions of sm_90a, such a kernel is empty and has no barriers.
template <class... Args>
bool has_code(void (*kernel)(Args...)) {
  cudaFuncAttributes attributes;
  cuda_check(cudaFuncGetAttributes(&attributes, kernel), "asking for a kernel's attributes");
  return attributes.sharedSizeBytes > 0;
}

// Do dtype, sizes and alignments of an op's operands allow it?
inline bool product_tiles_take(const OpView& v, const ProductExtents& e, const CudaTraits& traits) {
  if (traits.architecture != kProductArchitecture || v.input(0).dtype != DType::bf16) return false;
  if (e.depth % kMapMultiple != 0 || e.columns % kMapMultiple != 0) return false;
  if (std::max({e.rows, e.depth, e.columns}) > kMostExtent) return false;
  if (ceil_div(e.rows, kTileRows) * ceil_div(e.columns, e.tile_columns) > kMostExtent) return false;
  const auto aligned = [&](BufferId id) { return id == kNone || alignment_of(v.program(), id) >= kMapAlignment; };
  return std::ranges::all_of(v.op().inputs, aligned) && std::ranges::all_of(v.op().outputs, aligned, &Output::buffer);
}

template <class... Args>
void allow_shared(void (*kernel)(Args...)) {
  cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kProductSharedBytes),
             "shared memory of a product with what follows it");
}

template <class Crew>
ClusterGrid product_grid(const ProductExtents& extents, const CudaTraits& traits) {
  const int clusters = std::min(traits.multiprocessors / kClusterBlocks, extents.order().pairs());
  return {.clusters = static_cast<unsigned>(clusters),
          .blocks = kClusterBlocks,
          .threads = Crew::kThreads,
          .shared_bytes = kProductSharedBytes};
}

}  // namespace centavo
