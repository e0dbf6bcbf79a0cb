#include "ops/cuda/product_launch.cuh"
#include "ops/linear_swiglu/fused_kernel.cuh"
#include "ops/linear_swiglu/linear_swiglu_cuda.h"

namespace centavo {
namespace {

LinearSwiGluMaps maps_of(const CudaCall& call, const ProductExtents& e) {
  const auto sent = [&](const __nv_bfloat16* data) {
    return map_of({data, e.rows, e.columns, 2 * e.columns, kMultiplierRows});
  };
  const auto* gate = call.out<__nv_bfloat16>(0);
  return {.h = map_of({call.in<void>(0), e.rows, e.depth, e.depth, kTileRows}),
          .weight = map_of({call.in<void>(1), 2 * e.columns, e.depth, e.depth, kHalfColumns}),
          .gate = sent(gate),
          .up = sent(gate + e.columns)};
}

}  // namespace

std::optional<CudaKernel> linear_swiglu_fused_cuda(const OpView& v, const CudaTraits& traits) {
  const ProductExtents extents = {v.in(0)[0], v.in(0)[1], v.out(1)[1], kHalfColumns};
  if (!product_tiles_take(v, extents, traits) || !has_code(linear_swiglu_tiles)) return std::nullopt;
  allow_shared(linear_swiglu_tiles);
  const LinearSwiGluSizes sizes = {.order = extents.order(),
                                   .depth = extents.depth_tiles(),
                                   .rows = static_cast<int>(extents.rows),
                                   .columns = static_cast<int>(extents.columns)};
  const ClusterGrid grid = product_grid<SmallCrew>(extents, traits);
  return [=](const CudaCall& call) {
    launch_clusters("linear_swiglu_tiles", linear_swiglu_tiles, grid, call.stream, maps_of(call, extents), sizes,
                    call.out<__nv_bfloat16>(1));
  };
}

}  // namespace centavo
