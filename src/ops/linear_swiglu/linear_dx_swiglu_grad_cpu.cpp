#include "ops/linear/linear.h"
#include "ops/linear_swiglu/linear_dx_swiglu_grad.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {
namespace {

ApartMemory memory_of(const OpView& v, const CpuTraits& traits) {
  return {v, linear_dx_cpu_workspace_bytes(OpView(v.program(), grads_apart(v.op()).linear_dx), traits)};
}

}  // namespace

int64_t linear_dx_swiglu_grad_cpu_workspace_bytes(const OpView& v, const CpuTraits& traits) {
  return memory_of(v, traits).workspace_bytes();
}

CpuKernel linear_dx_swiglu_grad_cpu(const OpView& v, const CpuTraits& traits) {
  const LinearDxThenSwiGluGrad ops = grads_apart(v.op());
  const CpuKernel linear_dx = linear_dx_cpu(OpView(v.program(), ops.linear_dx), traits);
  const CpuKernel swiglu_grad = swiglu_grad_cpu(OpView(v.program(), ops.swiglu_grad), traits);
  const ApartMemory memory = memory_of(v, traits);
  return [=](const CpuCall& call) {
    void* const ds = memory.ds(call);
    linear_dx({call.inputs.first(2), {&ds, 1}, memory.scratch(call)});
    void* const inputs[] = {ds, call.inputs[2]};
    swiglu_grad({inputs, call.outputs, nullptr});
  };
}

}  // namespace centavo
