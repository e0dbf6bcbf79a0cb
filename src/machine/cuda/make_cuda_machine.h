// The CUDA part of make_machine: make_cuda_machine.cpp in a build with CUDA, machine/no_cuda.cpp in one without, which
// also stands in for gpu.cpp.
#pragma once

#include "base/errors.h"
#include "machine/cuda/gpu.h"
#include "machine/make_machine.h"

namespace centavo {

std::unique_ptr<Machine> make_cuda_machine(Program program, const OpTable& ops, const MachineOptions& options);

// Throws the UserError of a build without CUDA.
[[noreturn]] inline void refuse_without_cuda() {
  user_error("this centavo was built without CUDA; install the CUDA toolkit and build again, or use device = \"cpu\"");
}

}  // namespace centavo
