#include "machine/cuda/make_cuda_machine.h"

#include "base/errors.h"
#include "machine/cuda/cuda_machine.h"

namespace centavo {

std::unique_ptr<Machine> make_cuda_machine(Program program, const OpTable& ops, const MachineOptions& options) {
  auto* lender = dynamic_cast<CudaMachine*>(options.lender);
  CHECK(options.lender == nullptr || lender != nullptr, "a CUDA machine borrows from another kind");
  CudaMachine::Options own;
  own.deterministic = options.deterministic;
  own.debug = options.debug;
  own.lender = lender;
  own.tuning_directory = options.tuning_directory;
  return std::make_unique<CudaMachine>(std::move(program), ops, own);
}

std::optional<NonFiniteElements> non_finite_on_gpu(const Machine& machine, const Buffer& buffer) {
  const auto* cuda = dynamic_cast<const CudaMachine*>(&machine);
  const bool counts = buffer.dtype == DType::f32 || buffer.dtype == DType::bf16;
  if (cuda == nullptr || !counts || buffer.home != Home::device) return std::nullopt;
  return cuda->non_finite(buffer);
}

}  // namespace centavo
