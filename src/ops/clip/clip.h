// Turns the step's sums into the one scalar the optimizer multiplies gradients with: 1 / tokens and the clip factor.
//
//   tokens = count                              targets of the step, over all micro-batches and ranks
//   norm   = sqrt(sum of partials) / tokens     norm of the gradient of the mean loss
//   clip   = min(1, max_norm / (norm + 1e-6))   1 when max_norm is 0
//   finite = norm and loss are finite and tokens > 0
//   scale  = finite ? clip / tokens : 0
//   metrics = {loss / tokens, norm, tokens, finite}
//
// partials [P] f32 (from `sqnorm` or `tree_sum`), loss [1] f32 or f64 (a sum over tokens), count [1] i32; scale [1]
// f32, finite [1] i32, metrics [4] f32. Everything is computed in f64 and rounded once.
//
// The partials are added as a complete binary tree over the block index, padded with zeros to a power of two: the order
// depends on P alone, so ranks that hold the same partials agree in every bit.
// Aliasing: no output shares memory with an input. Error of norm: at most (log2(P) + 3) roundoffs of f64, and one of
// f32. When not finite the metrics are what the formulas give. No gradient.
// Source: the clip factor is that of PyTorch, torch.nn.utils.clip_grad_norm_.
#pragma once

#include "program/builder.h"

namespace centavo {

struct ClipInputs {
  BufferId partials = kNone;
  BufferId loss = kNone;
  BufferId count = kNone;
};

struct ClipOutputs {
  Into scale, finite, metrics;
};

struct Clipped {
  BufferId scale = kNone;
  BufferId finite = kNone;
  BufferId metrics = kNone;
};

Clipped clip(Builder& b, const ClipInputs& in, const ClipOutputs& out, double max_norm);

//   scale, finite, metrics = clip(partials, loss, count) max_norm
OpDef clip_def();

CpuKernel clip_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel clip_cuda(const OpView& view, const CudaTraits& traits);
// Bytes of the sums of subtrees.
int64_t clip_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
