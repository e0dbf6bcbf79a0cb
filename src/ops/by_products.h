// What gradients make along the way: an output of their forward, from operands that they read anyhow.
//
//   dgate_up, s      = swiglu_grad(ds, gate_up)                       s = swiglu(gate_up)
//   dx, dweight?, h  = rmsnorm_grad(dh, …)                            h = rmsnorm(sum)
//   dx, …, h         = layernorm_grad(dh, …, bias)                    h = layernorm(sum)
//
// The by-product is the last output. It has the forward's bits, and the form of the first input, the gradient of the
// same tensor, where it may lie.
#pragma once

#include <optional>

#include "program/program.h"

namespace centavo {

// `grad` with the output that `replay` writes besides what `grad` reads; nothing where it does not make it.
std::optional<Op> with_by_product(const Op& grad, const Op& replay);

}  // namespace centavo
