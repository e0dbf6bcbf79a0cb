#include <algorithm>

#include "ops/linear/product_cuda.h"
#include "ops/linear_swiglu/fused_kernel.cuh"
#include "ops/linear_swiglu/linear_swiglu_cuda.h"

namespace centavo {
namespace {

constexpr int kArchitecture = 90;
constexpr int kMapAlignment = 16;  // bytes
constexpr int kMapMultiple = 8;    // elements between rows
constexpr int64_t kMost = int64_t{1} << 29;
constexpr int kBand = 8;  // 16 tile rows of h, 15 MB at K = 3584

struct Sizes {
  int64_t rows = 0, depth = 0, columns = 0;  // N, K, F
};

int tiles_of(int64_t extent, int tile) { return static_cast<int>(ceil_div(extent, tile)); }

bool takes(const OpView& v, const Sizes& s, const CudaTraits& traits) {
  if (traits.architecture != kArchitecture || v.input(0).dtype != DType::bf16) return false;
  if (s.depth % kMapMultiple != 0 || s.columns % kMapMultiple != 0) return false;
  if (std::max({s.rows, s.depth, s.columns}) > kMost) return false;
  if (ceil_div(s.rows, kTileRows) * ceil_div(s.columns, kHalfColumns) > kMost) return false;
  const auto aligned = [&](BufferId id) { return alignment_of(v.program(), id) >= kMapAlignment; };
  return std::ranges::all_of(v.op().inputs, aligned) && std::ranges::all_of(v.op().outputs, aligned, &Output::buffer);
}

// On other GPUs, and without the instructions of sm_90a, the kernel is empty and has no barriers.
bool has_code() {
  cudaFuncAttributes attributes;
  cuda_check(cudaFuncGetAttributes(&attributes, linear_swiglu_tiles), "asking for linear_swiglu_tiles");
  return attributes.sharedSizeBytes > 0;
}

LinearSwiGluMaps maps_of(const CudaCall& call, const Sizes& s) {
  const auto sent = [&](const __nv_bfloat16* data) {
    return map_of({data, s.rows, s.columns, 2 * s.columns, kMultiplierRows});
  };
  const auto* gate = call.out<__nv_bfloat16>(0);
  return {.h = map_of({call.in<void>(0), s.rows, s.depth, s.depth, kTileRows}),
          .weight = map_of({call.in<void>(1), 2 * s.columns, s.depth, s.depth, kHalfColumns}),
          .gate = sent(gate),
          .up = sent(gate + s.columns)};
}

LinearSwiGluSizes sizes_of(const Sizes& s) {
  const TileOrder order = {.rows = tiles_of(s.rows, kClusterBlocks * kTileRows),
                           .columns = tiles_of(s.columns, kHalfColumns),
                           .band = kBand};
  return {.order = order,
          .depth = tiles_of(s.depth, kTileDepth),
          .rows = static_cast<int>(s.rows),
          .columns = static_cast<int>(s.columns)};
}

}  // namespace

std::optional<CudaKernel> linear_swiglu_fused_cuda(const OpView& v, const CudaTraits& traits) {
  const Sizes s = {v.in(0)[0], v.in(0)[1], v.out(1)[1]};
  if (!takes(v, s, traits) || !has_code()) return std::nullopt;
  cuda_check(
      cudaFuncSetAttribute(linear_swiglu_tiles, cudaFuncAttributeMaxDynamicSharedMemorySize, kProductSharedBytes),
      "shared memory of linear_swiglu_tiles");
  const LinearSwiGluSizes sizes = sizes_of(s);
  const ClusterGrid grid = {
      .clusters = static_cast<unsigned>(std::min(traits.multiprocessors / kClusterBlocks, sizes.order.pairs())),
      .blocks = kClusterBlocks,
      .threads = kProductThreads,
      .shared_bytes = kProductSharedBytes};
  return [=](const CudaCall& call) {
    launch_clusters("linear_swiglu_tiles", linear_swiglu_tiles, grid, call.stream, maps_of(call, s), sizes,
                    call.out<__nv_bfloat16>(1));
  };
}

}  // namespace centavo
