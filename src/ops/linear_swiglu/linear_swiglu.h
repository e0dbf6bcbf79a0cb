// A linear layer and the swiglu behind it, the first half of a gated feed-forward layer:
//
//   gate_up = h weight^T          h [N, K], weight [2F, K], gate_up [N, 2F]    as linear computes it
//   s       = swiglu(gate_up)     [N, F]                                       from the rounded gate_up, as swiglu
//
// All T: f64, f32 or bf16. The pass fuse_swiglu (passes/fuse_swiglu.h) makes one op of two, behind `differentiate`: it
// has no gradient rule. A replay that needs s alone is a swiglu of the kept gate_up, with the same bits.
//
// Aliasing, determinism and errors: those of linear.h and swiglu.h. On the CPU the bits are those of the two ops. On
// CUDA the two run one after the other, or in one kernel that spares the pass over gate_up, where that takes the case
// and is faster; gate_up's sums are then in another order (along K, 16 terms at a time), within the bound of linear.h,
// and s is what swiglu makes of that gate_up, bit for bit. What runs is chosen once for each shape and kept in the
// tuning table. The kernel takes bf16 on compute capability 9.0 with K and F multiples of 8. The cost is that of the
// one kernel; the two apart read gate_up once more.
#pragma once

#include <optional>

#include "program/builder.h"

namespace centavo {

//   gate_up, s = linear_swiglu(h, weight)
OpDef linear_swiglu_def();

// The op for both; nothing unless the two are a linear without bias, scale or what it would add to, and a swiglu of
// what it writes, in one layer, stage and lane.
std::optional<Op> linear_swiglu_of(const Op& linear, const Op& swiglu);

// The two ops that it stands for.
struct LinearThenSwiGlu {
  Op linear;
  Op swiglu;
};
LinearThenSwiGlu apart(const Op& linear_swiglu);

int64_t linear_swiglu_cpu_workspace_bytes(const OpView& view, const CpuTraits& traits);
CpuKernel linear_swiglu_cpu(const OpView& view, const CpuTraits& traits);

int64_t linear_swiglu_cuda_workspace(const OpView& view, const CudaTraits& traits);
CudaKernel linear_swiglu_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
