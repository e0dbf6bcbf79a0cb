// The dtype policy, applied to a differentiated program.
//
// Builders write fp32. This pass gives each buffer its dtype from the slots it is bound to (the op table says which
// operands follow the compute dtype, which are statistics, which are weight gradients), so no cast is ever
// differentiated and no op is told what precision it runs in. What the policy adds is text too: a master copy of each
// trainable parameter that the optimizer updates and rounds from, or stochastic rounding in its place.
//
//   fp32             everything f32
//   bf16             weights and activations bf16; gradients, moments and a master copy of the weights f32:
//                    18 bytes a parameter
//   bf16_stochastic  weights, gradients and moments bf16, no master; updates are rounded stochastically so that small
//                    ones are kept on average: 8 bytes a parameter
//   fp64             everything f64; the tests' oracle
//
// The weights and biases of norms are f32 under both bf16 policies, without a master: they lie near 1, where a step of
// bf16 is 0.004 to 0.008, so a rounded one would stand still for its first hundred updates.
//
// Sources: Micikevicius et al., "Mixed Precision Training", 2018; Zamirai et al., "Revisiting BFloat16 Training", 2020.
#pragma once

#include <string>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

struct PrecisionPolicy {
  DType compute = DType::f32;
  DType gradient = DType::f32;  // of parameters
  DType state = DType::f32;     // moments
  bool master = false;
  bool stochastic_rounding = false;
};

// "fp32", "bf16", "bf16-stochastic" or "fp64"; throws UserError.
PrecisionPolicy precision_policy(const std::string& name);

Program precision(Program program, const OpTable& ops, const PrecisionPolicy& policy);

}  // namespace centavo
