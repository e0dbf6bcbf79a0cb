// Every rank's shard, end to end, on every rank.
//
//   full[r n + i] = shard[i] of rank r      shard [n], full [n ranks], both f64, f32 or bf16
//
// Aliasing: the shard may be its own place in `full` (elements [r n, (r + 1) n) on rank r). Moves bits, computes
// nothing. Cost: a ring sends (R - 1) / R of the bytes of `full`. No gradient. Source: Chan et al., "Collective
// communication: theory, practice, and experience", 2007.
#pragma once

#include "program/builder.h"

namespace centavo {

BufferId all_gather(Builder& b, BufferId shard, const Into& full, int64_t ranks);

//   full = all_gather(shard) ranks
OpDef all_gather_def();

}  // namespace centavo
