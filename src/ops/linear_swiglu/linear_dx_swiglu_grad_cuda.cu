#include "ops/linear_swiglu/linear_dx_swiglu_grad_cuda.h"

#include "ops/linear/linear.h"
#include "ops/linear_swiglu/fused_choice.h"
#include "ops/linear_swiglu/linear_dx_swiglu_grad.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {
namespace {

ApartMemory memory_of(const OpView& v, const CudaTraits& traits) {
  return {v, linear_dx_cuda_workspace(OpView(v.program(), grads_apart(v.op()).linear_dx), traits)};
}

std::vector<CudaWay> ways_of(const OpView& v, const CudaTraits& traits) {
  std::vector<CudaWay> ways = linear_dx_swiglu_grad_fused_cuda(v, traits);
  ways.insert(ways.begin(), {"apart", linear_dx_swiglu_grad_apart_cuda(v, traits)});
  return ways;
}

}  // namespace

int64_t linear_dx_swiglu_grad_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return memory_of(v, traits).workspace_bytes();
}

CudaKernel linear_dx_swiglu_grad_apart_cuda(const OpView& v, const CudaTraits& traits) {
  const LinearDxThenSwiGluGrad ops = grads_apart(v.op());
  const CudaKernel linear_dx = linear_dx_cuda(OpView(v.program(), ops.linear_dx), traits);
  const CudaKernel swiglu_grad = swiglu_grad_cuda(OpView(v.program(), ops.swiglu_grad), traits);
  const ApartMemory memory = memory_of(v, traits);
  return [=](const CudaCall& call) {
    void* const ds = memory.ds(call);
    linear_dx({{call.inputs.first(2), {&ds, 1}, memory.scratch(call)}, call.stream});
    void* const inputs[] = {ds, call.inputs[2]};
    swiglu_grad({{inputs, call.outputs, nullptr}, call.stream});
  };
}

// With s or without, the same way: that fixes the bits of dgate_up, and what is replayed must not change them.
CudaKernel linear_dx_swiglu_grad_cuda(const OpView& v, const CudaTraits& traits) {
  Op without_s = v.op();
  without_s.outputs.resize(1);
  const OpView timed(v.program(), without_s);
  const std::string key = fmt::format("linear_dx_swiglu_grad m{} n{} k{}", v.in(0)[0], v.in(1)[1], v.in(0)[1]);
  const double flops = linear_dx_swiglu_grad_def().cost(timed).flops;
  const int64_t workspace_bytes = linear_dx_swiglu_grad_cuda_workspace(timed, traits);
  return ways_of(v, traits).at(fastest_way(timed, traits, ways_of(timed, traits), key, flops, workspace_bytes)).kernel;
}

}  // namespace centavo
