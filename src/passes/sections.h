// Gradient accumulation: one micro-batch, written once, becomes the sections of a step.
//
// A buffer that the micro-batch writes and `update` reads (weight gradients, loss, token count) is a sum over
// micro-batches. The first micro-batch writes it, later ones add:
//
//   1 micro-batch    only update
//   2                first last update
//   n                first middle*(n-2) last update
//
// An op of the micro-batch that cannot add writes a temporary, and an explicit `add` follows. Where the program has a
// counter `micro_step`, each micro-batch ends by advancing it.
#pragma once

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

// Replaces section `micro` and the step. Without a section `update` (evaluation) the step is `micro` alone.
Program sections(Program program, const OpTable& ops, int64_t micro_batches);

}  // namespace centavo
