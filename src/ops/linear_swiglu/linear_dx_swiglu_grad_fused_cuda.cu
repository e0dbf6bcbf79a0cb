#include "ops/cuda/product_launch.cuh"
#include "ops/linear_swiglu/grad_kernel.cuh"
#include "ops/linear_swiglu/linear_dx_swiglu_grad_cuda.h"

namespace centavo {
namespace {

LinearDxSwiGluGradMaps maps_of(const CudaCall& call, const ProductExtents& e) {
  return {.dy = map_of({call.in<void>(0), e.rows, e.depth, e.depth, kTileRows}),
          .weight = map_of({call.in<void>(1), e.depth, e.columns, e.columns, kTileDepth})};
}

template <class Crew, bool kWithS>
void add_way(const std::string& name, const ProductExtents& extents, const CudaTraits& traits,
             std::vector<CudaWay>& ways) {
  const auto tiles = linear_dx_swiglu_grad_tiles<Crew, kWithS>;
  if (!has_code(tiles)) return;
  allow_shared(tiles);
  const LinearDxSwiGluGradSizes sizes = {.order = extents.order(),
                                         .depth = extents.depth_tiles(),
                                         .rows = static_cast<int>(extents.rows),
                                         .columns = static_cast<int>(extents.columns)};
  const ClusterGrid grid = product_grid<Crew>(extents, traits);
  ways.push_back({name, [=](const CudaCall& call) {
                    using T = __nv_bfloat16;
                    const SwiGluGradOperands operands = {call.in<T>(2), call.out<T>(0), call.out<T>(1)};
                    launch_clusters("linear_dx_swiglu_grad_tiles", tiles, grid, call.stream, maps_of(call, extents),
                                    sizes, operands);
                  }});
}

template <bool kWithS>
std::vector<CudaWay> ways_of(const ProductExtents& extents, const CudaTraits& traits) {
  std::vector<CudaWay> ways;
  add_way<SmallCrew, kWithS>("fused, small crew", extents, traits, ways);
  add_way<LargeCrew, kWithS>("fused, large crew", extents, traits, ways);
  return ways;
}

}  // namespace

std::vector<CudaWay> linear_dx_swiglu_grad_fused_cuda(const OpView& v, const CudaTraits& traits) {
  const ProductExtents extents = {v.in(0)[0], v.in(0)[1], v.in(1)[1]};
  if (!product_tiles_take(v, extents, traits)) return {};
  return v.has_output(1) ? ways_of<true>(extents, traits) : ways_of<false>(extents, traits);
}

}  // namespace centavo
