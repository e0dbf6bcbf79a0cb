// Every member's shard, end to end, on every member of the group (ops/collective/group.h).
//
//   full[k n + i] = shard[i] of member k      shard [n], full [n ranks], both f64, f32 or bf16
//
// Aliasing: the shard may be this rank's part of `full` (elements [k n, (k + 1) n) of member k); then nothing is
// copied. Moves bits, computes nothing. Cost: a rank sends (R - 1) / R of the bytes of `full`. Errors: those of
// Communicator::exchange. No gradient. Source: Chan et al., "Collective communication: theory, practice, and
// experience", 2007.
#pragma once

#include "base/communicator.h"
#include "program/builder.h"

namespace centavo {

BufferId all_gather(Builder& b, BufferId shard, const Into& full, const Group& group);

//   full = all_gather(shard) ranks stride
OpDef all_gather_def();

}  // namespace centavo
