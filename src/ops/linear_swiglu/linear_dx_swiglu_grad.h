// The backward of a gated feed-forward layer's second half, up to its gate and up:
//
//   ds       = dy weight                     dy [N, C], weight [C, F], ds [N, F]     as linear_dx computes it
//   dgate_up = swiglu_grad(ds, gate_up)      gate_up, dgate_up [N, 2F]               as swiglu_grad does, from the
//   s        = swiglu(gate_up)               [N, F], where asked for                 rounded ds
//
// All T: f64, f32 or bf16. ds is in nobody's hands but the kernels'. The pass fuse_swiglu_grad (passes/fuse_swiglu.h)
// makes one op of two.
//
// Aliasing, determinism and errors: those of linear.h and swiglu.h; no output shares memory with an input. On the CPU
// the bits are those of the two ops. On CUDA the two run one after the other, or in one kernel in which ds never goes
// to memory, where that takes the case and is faster; ds is then summed in another order (along C, 16 terms at a time),
// within the bound of linear.h, and rounded as before. What runs is chosen once for each shape and kept in the tuning
// table. The kernel takes bf16 on compute capability 9.0 with C and F multiples of 8. The cost is that of the one
// kernel; the two apart also write and read ds.
//
// Workspace: the two apart hold ds in the place of s, else in the workspace; the product's own scratch lies in the
// place of dgate_up, which is written behind it, where that is large enough.
#pragma once

#include <optional>

#include "program/builder.h"

namespace centavo {

//   dgate_up[, s] = linear_dx_swiglu_grad(dy, weight, gate_up)
OpDef linear_dx_swiglu_grad_def();

// The op for both; nothing unless the two are a linear_dx without scale, amax or what it would add to, and a
// swiglu_grad of what it writes, in one layer, stage and lane.
std::optional<Op> linear_dx_swiglu_grad_of(const Op& linear_dx, const Op& swiglu_grad);

// The two ops that it stands for. ds has no buffer: in its place stands s, or where there is none dgate_up, which has
// its dtype but not its shape.
struct LinearDxThenSwiGluGrad {
  Op linear_dx;
  Op swiglu_grad;
};
LinearDxThenSwiGluGrad grads_apart(const Op& linear_dx_swiglu_grad);

// Where the two apart find room, the product needing so many bytes of scratch.
class ApartMemory {
 public:
  ApartMemory(const OpView& view, int64_t scratch_bytes);

  int64_t workspace_bytes() const { return ds_bytes_ + scratch_bytes_; }
  void* ds(const OpCall& call) const;
  void* scratch(const OpCall& call) const;

 private:
  // of the workspace
  int64_t ds_bytes_ = 0;
  int64_t scratch_bytes_ = 0;
};

int64_t linear_dx_swiglu_grad_cpu_workspace_bytes(const OpView& view, const CpuTraits& traits);
CpuKernel linear_dx_swiglu_grad_cpu(const OpView& view, const CpuTraits& traits);

int64_t linear_dx_swiglu_grad_cuda_workspace(const OpView& view, const CudaTraits& traits);
CudaKernel linear_dx_swiglu_grad_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
