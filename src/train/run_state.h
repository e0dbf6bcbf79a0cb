// What a checkpoint holds of a machine: the tensors that lie in its persistent buffers, without `micro_step`, which
// counts a rank's own micro-batches and follows from `step` and the number of ranks.
#pragma once

#include <vector>

#include "machine/machine.h"
#include "train/checkpoint_files.h"

namespace centavo {

// Read from the machine when they are needed: while it lives and does not step.
std::vector<StatePart> state_parts(const Machine& machine);

// Copies what this rank holds of the tensors from the checkpoint, whoever wrote which piece of them; `micro_step` is
// left to the caller. Throws UserError naming the first tensor that is missing, extra, or of another dtype or shape,
// the same on every rank; nothing is written to the machine in that case.
void restore(Machine& machine, const Checkpoint& checkpoint);

}  // namespace centavo
