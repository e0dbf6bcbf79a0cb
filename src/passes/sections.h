// Gradient accumulation: one micro-batch, written once, becomes the sections of a step.
//
// A buffer that the micro-batch writes and `update` reads (weight gradients, loss, token count) is a sum over
// micro-batches. How it is summed:
//
//   chain   in place: the first micro-batch writes, later ones add
//             1 micro-batch    only update
//             2                first last update
//             n                first middle*(n-2) last update
//
//   tree    as a complete binary tree over the micro-batches: the sum of 4 is (0 + 1) + (2 + 3). Micro-batch i writes a
//           leaf; the sums of complete subtrees wait in `NAME.sum0`, `NAME.sum1`, … like the digits of a binary
//           counter, and the leaf carries as many of them as i has trailing ones. Sections differ by their carries
//           alone:
//             4 micro-batches  first leaf1 leaf0 last update
//           With ranks that are added as a tree before, the order of all sums depends on the leaves of a step and not
//           on how many ranks share them. It costs log2(n) more gradients and a pass over them per micro-batch. Whole
//           numbers are exact in any order and are summed as a chain.
//
// An op of the micro-batch with stage `update` runs in the last one only: what turns a finished sum into what the
// update reads. An op that cannot add writes a temporary, and an explicit `add` follows. Where the program has a
// counter `micro_step`, each micro-batch ends by advancing it.
#pragma once

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

enum class GradSum : uint8_t { chain, tree };

// Replaces section `micro` and the step. Without a section `update` (evaluation) the step is `micro` alone.
Program sections(Program program, const OpTable& ops, int64_t micro_batches, GradSum grad_sum = GradSum::chain);

}  // namespace centavo
