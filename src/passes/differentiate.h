// Reverse-mode differentiation of a program.
//
// Walks a forward section backwards and lets each op's gradient rule append its backward ops. The first
// contribution to a gradient in program order writes it, later ones add; an op that cannot add writes a temporary
// and an explicit `add` follows. A gradient handed on unchanged (the residual stream) is shared, not copied.
// Nothing is computed that no trainable parameter needs: a frozen weight gets no gradient, so the input that only
// its gradient would read is not kept.
//
// The loss op ends the forward; where its backward computes the loss as well (backward_replaces_forward), the
// forward op is dropped. What must be kept for the backward is not recorded anywhere: it is what lives across the
// border between the last forward and the first backward op.
//
// Source: Griewank and Walther, "Evaluating Derivatives", chapter 3.
#pragma once

#include <string>
#include <vector>

#include "program/gradients.h"

namespace centavo {

// `seeds` names values whose gradient comes from outside: for value `y` a stream_in buffer `d.y` is declared.
// The gradient of parameter `w` is the buffer `w.grad`.
Program differentiate(Program program, const OpTable& ops, const std::string& section = "micro",
                      const std::vector<std::string>& seeds = {});

}  // namespace centavo
