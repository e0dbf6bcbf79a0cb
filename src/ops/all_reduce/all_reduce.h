// The sum over a group (ops/collective/group.h), on every member.
//
//   y = sum over members k of x of member k      any shape; f64, f32, bf16, i32 or i64; y as x
//
// Every member sums one part (ops/collective/parts_exchange.h) as the tree of member_sum.h, in the accumulator, rounded
// once; the parts are then gathered. So every member gets the same bits, those that reduce_scatter gives. Integers are
// exact. Aliasing: y may be x. Of one member y = x exactly. Cost: a rank sends 2 (R - 1) / R of the bytes of x; scratch
// of at most 1 MiB a member. Error: ceil(log2 R) roundings of the accumulator and one of the type. Errors: those of
// Communicator::exchange. No gradient. Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
// clusters of workstations", 2009.
#pragma once

#include "base/communicator.h"
#include "program/builder.h"

namespace centavo {

BufferId all_reduce(Builder& b, BufferId x, const Into& y, const Group& group);

//   y = all_reduce(x) ranks stride
OpDef all_reduce_def();

}  // namespace centavo
