// What the norms with a fused addition share, rmsnorm and layernorm:
//
//   h, statistics…, sum   = norm(x, delta, parameters…)             sum = x + delta, or x without a delta
//   dx, d parameters…, h? = norm_grad(dh, dsum, sum, weight, statistics…, other parameters?)
//
// The first parameter is the weight, `statistics` is how many there are, `sum` the last output.
#pragma once

#include <optional>
#include <string_view>

#include "program/gradients.h"
#include "program/op_table.h"

namespace centavo {

// x is [N, C], delta is like it, and there is a sum only with a delta.
void expect_addition(const OpView& norm, size_t statistics);
// dh is [N, C], dsum and sum are like it; h, the output number `h` where it is there, shares memory with dh alone.
void expect_gradients(const OpView& norm_grad, size_t h);

void differentiate_norm(Gradients& g, const Op& norm, std::string_view norm_grad, size_t statistics);

// The short replay h, statistics… = norm(sum, _, parameters…); nothing where the op writes no sum.
std::optional<Op> without_addition(const Op& norm, size_t statistics);

// `norm_grad` with the output h that `norm` writes, and with the parameters that this takes besides; nothing unless
// these are a gradient without h and a norm, without an addition, of its sum, parameters and statistics.
std::optional<Op> with_normed(const Op& norm_grad, const Op& norm, size_t statistics);

}  // namespace centavo
