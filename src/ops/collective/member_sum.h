// The sum over the members of a group, in one order wherever it is computed.
//
//   sum = complete binary tree over the members 0 … R - 1: of three (0 + 1) + 2, of four (0 + 1) + (2 + 3),
//         of five ((0 + 1) + (2 + 3)) + 4; where a partner is missing the value stays as it is
//   y[i] = round(sum), or round(y[i] + sum) when it is added
//
// Carried in f64 for f64, in f32 for f32 and bf16, and rounded once; integers are exact (modulo their size). So the
// depth is ceil(log2 R), and two groups of half the size, summed in turn, give the same bits when R is a power of two.
#pragma once

#include <cstddef>
#include <span>

#include "base/dtype.h"
#include "program/program.h"

namespace centavo {

// Is there a sum of this type: f64, f32, bf16, i32, i64?
bool has_member_sum(DType dtype);

// `members`: n elements of each, in the members' order. y may be one of them when it is written.
void member_sum(DType dtype, std::span<const std::byte* const> members, int64_t n, std::byte* y, Bind bind);

}  // namespace centavo
