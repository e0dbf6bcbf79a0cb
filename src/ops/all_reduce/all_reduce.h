// The sum over ranks, on every rank.
//
//   y = sum over ranks r of x of rank r      any shape and dtype; y as x
//
// Aliasing: y may be x. Deterministic: every rank gets the same bits. On one rank y = x exactly. Cost: a ring sends
// 2 (R - 1) / R of the bytes of x. Error: at most R - 1 roundings to the type of the sum. No gradient.
// Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
#pragma once

#include "program/builder.h"

namespace centavo {

BufferId all_reduce(Builder& b, BufferId x, const Into& y, int64_t ranks);

//   y = all_reduce(x) ranks
OpDef all_reduce_def();

}  // namespace centavo
