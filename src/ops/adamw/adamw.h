// One AdamW update, in place.
//
//   nothing is read or written but `finite` when it is 0; else, with t = step + 1 and gradient = g * scale:
//   m = beta1 m + (1 - beta1) gradient
//   v = beta2 v + (1 - beta2) gradient^2
//   w = w (1 - lr weight_decay) - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// w, g, m, v any one shape, each f64, f32 or bf16; master of that shape, f32; scale, lr [1] f32; finite [1] i32;
// step [1] i64, updates completed so far; seed [1] i64. Computed in f32 (f64 when w is f64; the coefficients always in
// f64 first); w takes the new m and v before they are rounded.
//
// With a master (for bf16 w only) the update reads and writes the master, and w = master rounded to nearest.
// rounding says how the other bf16 outputs are rounded:
//   nearest      ties to even
//   stochastic   element i of w, m, v takes draw16(0, 1, 2; first + i) of random_stream(seed, step, 0, logical id of
//                the op) (base/rng.h). `first` is the index of w's element 0 in the uncut tensor: a shard draws what
//                the whole would. Needs `seed`.
//
// Aliasing: the outputs w, m, v, master are the input buffers of these names; g shares memory with none of them.
// Deterministic: elementwise. Error of one step, u the roundoff of f32 (f64): m within 3 u (|m| + |gradient|), v within
// 5 u v, w within 2 u |w| + 12 u lr (|m| + |gradient|) / (sqrt(v) + eps) to first order, plus one rounding to the
// stored type each. On CUDA root and reciprocal are the GPU's fast ones: 16 u in place of 12 u, and a v or a
// denominator below 2^-126 counts as 0. No gradient. Source: Loshchilov and Hutter, "Decoupled Weight Decay
// Regularization", 2019, in the form of torch.optim.AdamW; stochastic rounding of weights: Zamirai et al., "Revisiting
// BFloat16 Training", 2020.
#pragma once

#include <map>
#include <string>

#include "program/builder.h"

namespace centavo {

struct AdamWOperands {
  BufferId w = kNone;
  BufferId g = kNone;
  BufferId m = kNone;
  BufferId v = kNone;
  BufferId master = kNone;  // may stay kNone
  BufferId scale = kNone;
  BufferId finite = kNone;
  BufferId lr = kNone;
  BufferId step = kNone;
  BufferId seed = kNone;  // kNone when rounding to nearest
};

struct AdamWSettings {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  std::string rounding = "nearest";
};

void adamw(Builder& b, const AdamWOperands& operands, const AdamWSettings& settings);

// The op's attributes, for passes that write the op themselves.
std::map<std::string, Attribute> adamw_attributes(const AdamWSettings& settings);

//   w, m, v, master? = adamw(w, g, m, v, master?, scale, finite, lr, step, seed?)
//                      beta1 beta2 eps weight_decay rounding
OpDef adamw_def();

CpuKernel adamw_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel adamw_cuda(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
