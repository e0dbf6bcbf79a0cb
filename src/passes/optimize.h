// Appends the section `update`: gradient norm, clip, AdamW.
//
// The squares of each unit's gradient are summed over fixed blocks, the blocks as a fixed tree (`tree_sum`), the units
// as another (`clip`), which folds 1/tokens and the clip factor into one scalar; AdamW reads gradient, state and scalar
// of a unit once and writes its weights. Parameters of one dimension (norm weights, biases) are not decayed. The step
// counter moves last.
//
// Sources: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019; Pascanu et al., "On the difficulty of
// training recurrent neural networks", 2013 (clipping by norm).
#pragma once

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

struct OptimizerSettings {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;  // 0: no clipping
};

// The program must hold the control buffers `loss` [1], `count` [1] and `step` [1], and for each trainable parameter
// `w` its gradient `w.grad`. Declares the rings `lr` (in) and `metrics` (out: loss, gradient norm, tokens, finite).
Program optimize(Program program, const OpTable& ops, const OptimizerSettings& settings);

}  // namespace centavo
