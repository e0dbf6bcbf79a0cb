// What a checkpoint holds of a machine: exactly the persistent buffers, by name.
#pragma once

#include <vector>

#include "machine/cpu/cpu_machine.h"
#include "train/checkpoint_files.h"

namespace centavo {

// Views of the machine's own memory, valid while it lives and does not step.
std::vector<TensorView> persistent_tensors(const CpuMachine& machine);

// Throws UserError naming the first tensor that is missing, extra, or of another dtype or shape; nothing is written
// to the machine in that case.
void restore(CpuMachine& machine, const SafetensorsFile& state);

}  // namespace centavo
