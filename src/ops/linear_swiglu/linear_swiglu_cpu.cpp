#include "ops/linear/linear.h"
#include "ops/linear_swiglu/linear_swiglu.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {

int64_t linear_swiglu_cpu_workspace_bytes(const OpView& v, const CpuTraits& traits) {
  return linear_cpu_workspace_bytes(OpView(v.program(), apart(v.op()).linear), traits);
}

CpuKernel linear_swiglu_cpu(const OpView& v, const CpuTraits& traits) {
  const LinearThenSwiGlu ops = apart(v.op());
  const CpuKernel linear = linear_cpu(OpView(v.program(), ops.linear), traits);
  const CpuKernel swiglu = swiglu_cpu(OpView(v.program(), ops.swiglu), traits);
  return [=](const CpuCall& call) {
    linear({call.inputs, call.outputs.first(1), call.workspace});
    swiglu({call.outputs.first(1), call.outputs.subspan(1), nullptr});
  };
}

}  // namespace centavo
