#include "ops/cuda/device.cuh"
#include "ops/cuda/libraries.h"
#include "ops/cuda/timing.cuh"
#include "ops/linear/linear.h"
#include "ops/linear/product_cuda.h"
#include "ops/linear_swiglu/linear_swiglu.h"
#include "ops/linear_swiglu/linear_swiglu_cuda.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {
namespace {

constexpr const char* kApart = "apart";
constexpr const char* kFused = "fused";

std::string key_of(const OpView& v) {
  const auto alignment = [&](BufferId id) { return alignment_of(v.program(), id); };
  return fmt::format("linear_swiglu m{} n{} k{} {} align {},{},{},{}", v.in(0)[0], v.in(1)[0], v.in(0)[1],
                     name_of(v.input(0).dtype), alignment(v.op().inputs[0]), alignment(v.op().inputs[1]),
                     alignment(v.op().outputs[0].buffer), alignment(v.op().outputs[1].buffer));
}

// Sets of the op's operands, one behind the other, and the workspace.
class Operands {
 public:
  Operands(const OpView& v, CudaLibraries& libraries, int64_t workspace_bytes) {
    const Buffer* const buffers[] = {&v.input(0), &v.input(1), &v.output(0), &v.output(1)};
    for (size_t i = 0; i < 4; ++i) begins_[i + 1] = begins_[i] + ceil_div(buffers[i]->slot_bytes(), 256) * 256;
    sets_ = std::clamp<int64_t>(kRotatedBytes / begins_[4], 1, kMostSets);
    memory_ = static_cast<char*>(libraries.scratch(sets_ * begins_[4] + workspace_bytes));
  }

  void run(const CudaKernel& kernel, int64_t i, CUstream_st* stream) const {
    char* const set = memory_ + i % sets_ * begins_[4];
    void* const inputs[] = {set, set + begins_[1]};
    void* const outputs[] = {set + begins_[2], set + begins_[3]};
    kernel({{inputs, outputs, memory_ + sets_ * begins_[4]}, stream});
  }

 private:
  char* memory_ = nullptr;
  int64_t begins_[5] = {};
  int64_t sets_ = 1;
};

// Milliseconds of one launch, with the code loaded and the clock where this kernel takes it.
float ms_of(const CudaKernel& kernel, const Operands& operands, CUstream_st* stream) {
  const Event start;
  const Event end;
  operands.run(kernel, 0, stream);
  start.record(stream);
  operands.run(kernel, 1, stream);
  end.record(stream);
  end.wait();
  return time_alone(stream, end.ms_since(start), [&](int64_t launch) { operands.run(kernel, launch, stream); });
}

std::string faster(const OpView& v, const CudaTraits& traits, const CudaKernel& apart, const CudaKernel& fused) {
  CudaLibraries& libraries = *traits.libraries;
  const Operands operands(v, libraries, linear_swiglu_cuda_workspace(v, traits));
  const float apart_ms = ms_of(apart, operands, libraries.stream());
  return ms_of(fused, operands, libraries.stream()) < kClearlyFaster * apart_ms ? kFused : kApart;
}

}  // namespace

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
  const CudaKernel apart = linear_swiglu_apart_cuda(v, traits);
  const std::optional<CudaKernel> fused = linear_swiglu_fused_cuda(v, traits);
  if (!fused || linear_swiglu_def().cost(v).flops < kShortFlops) return apart;
  const std::string key = key_of(v);
  std::string choice = traits.libraries->tuning.find(key);
  if (choice != kApart && choice != kFused) {
    choice = faster(v, traits, apart, *fused);
    traits.libraries->tuning.set(key, choice);
  }
  return choice == kFused ? *fused : apart;
}

}  // namespace centavo
