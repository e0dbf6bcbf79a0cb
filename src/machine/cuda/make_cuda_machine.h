// The CUDA part of make_machine: make_cuda_machine.cpp in a build with CUDA, machine/no_cuda.cpp in one without, which
// also stands in for gpu.cpp.
#pragma once

#include <optional>

#include "base/errors.h"
#include "machine/cuda/gpu.h"
#include "machine/make_machine.h"
#include "machine/non_finite.h"

namespace centavo {

std::unique_ptr<Machine> make_cuda_machine(Program program, const OpTable& ops, const MachineOptions& options);

// Of f32 and bf16 in the memory of a CUDA machine; nothing for what must be looked at on the host.
std::optional<NonFiniteElements> non_finite_on_gpu(const Machine& machine, const Buffer& buffer);

// Throws the UserError of a build without CUDA.
[[noreturn]] inline void refuse_without_cuda() {
  user_error("this centavo was built without CUDA; install the CUDA toolkit and build again, or use device = \"cpu\"");
}

}  // namespace centavo
