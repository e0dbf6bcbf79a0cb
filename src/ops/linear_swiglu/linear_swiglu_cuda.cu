#include "ops/linear/linear.h"
#include "ops/linear_swiglu/fused_choice.h"
#include "ops/linear_swiglu/linear_swiglu.h"
#include "ops/linear_swiglu/linear_swiglu_cuda.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {

int64_t linear_swiglu_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return linear_cuda_workspace(OpView(v.program(), apart(v.op()).linear), traits);
}

CudaKernel linear_swiglu_apart_cuda(const OpView& v, const CudaTraits& traits) {
  const LinearThenSwiGlu ops = apart(v.op());
  const CudaKernel linear = linear_cuda(OpView(v.program(), ops.linear), traits);
  const CudaKernel swiglu = swiglu_cuda(OpView(v.program(), ops.swiglu), traits);
  return [=](const CudaCall& call) {
    linear({{call.inputs, call.outputs.first(1), call.workspace}, call.stream});
    swiglu({{call.outputs.first(1), call.outputs.subspan(1), nullptr}, call.stream});
  };
}

CudaKernel linear_swiglu_cuda(const OpView& v, const CudaTraits& traits) {
  std::vector<CudaWay> ways = {{"apart", linear_swiglu_apart_cuda(v, traits)}};
  if (auto fused = linear_swiglu_fused_cuda(v, traits)) ways.push_back({"fused", *std::move(fused)});
  const std::string key = fmt::format("linear_swiglu m{} n{} k{}", v.in(0)[0], v.in(1)[0], v.in(0)[1]);
  const double flops = linear_swiglu_def().cost(v).flops;
  return ways[fastest_way(v, traits, ways, key, flops, linear_swiglu_cuda_workspace(v, traits))].kernel;
}

}  // namespace centavo
