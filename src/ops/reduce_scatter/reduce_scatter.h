// The sum over ranks, cut evenly: rank r gets part r.
//
//   shard[i] = sum over ranks s of full[r n + i] of rank s      full [n ranks], shard [n], both f64, f32 or bf16
//
// The shard may be bound to add. Aliasing: a written shard may be its own place in `full` (elements [r n, (r + 1) n));
// an added one shares no memory with it. Deterministic. On one rank a written shard equals `full` exactly. Cost: a ring
// sends (R - 1) / R of the bytes of `full`. Error: at most R - 1 roundings to the type, one more when adding.
// No gradient. Source: Chan et al., "Collective communication: theory, practice, and experience", 2007.
#pragma once

#include "program/builder.h"

namespace centavo {

BufferId reduce_scatter(Builder& b, BufferId full, const Into& shard, int64_t ranks);

//   shard = reduce_scatter(full) ranks
OpDef reduce_scatter_def();

}  // namespace centavo
