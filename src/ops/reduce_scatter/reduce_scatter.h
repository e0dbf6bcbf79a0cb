// The sum over a group (ops/collective/group.h), cut evenly: member k gets part k.
//
//   shard[i] = sum over members s of full[k n + i] of member s     full [n ranks], shard [n], both f64, f32 or bf16
//
// Summed as the tree of ops/collective/member_sum.h, in the accumulator, and rounded once; a shard bound to add becomes
// round(shard + sum). Aliasing: a written shard may be this rank's part of `full` (elements [k n, (k + 1) n)), the
// rest of which stays as it is; an added one shares no memory with it. Deterministic. Of one member a written shard
// equals `full` exactly. Cost: a rank sends (R - 1) / R of the bytes of `full`; scratch of at most 1 MiB a member.
// Error: ceil(log2 R) roundings of the accumulator and one of the type, one more when adding. Errors: those of
// Communicator::exchange. No gradient. Source: Chan et al., "Collective communication: theory, practice, and
// experience", 2007.
#pragma once

#include "base/communicator.h"
#include "program/builder.h"

namespace centavo {

BufferId reduce_scatter(Builder& b, BufferId full, const Into& shard, const Group& group);

//   shard = reduce_scatter(full) ranks stride
OpDef reduce_scatter_def();

}  // namespace centavo
