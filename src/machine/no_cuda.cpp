// A build without CUDA.

#include "machine/cuda/gpu_rates.h"
#include "machine/cuda/make_cuda_machine.h"
#include "machine/gpu_libraries.h"

namespace centavo {

int gpu_count() { return 0; }

std::vector<GpuLibrary> gpu_libraries() { return {}; }

std::string gpu_trouble() { return ""; }

Gpu open_gpu(int) { refuse_without_cuda(); }

std::string attention_choice(const Program&, const CudaTraits&) { refuse_without_cuda(); }

std::string attention_choice(const Machine&) { refuse_without_cuda(); }

std::string fused_choice(const Machine&) { refuse_without_cuda(); }

std::optional<NonFiniteElements> non_finite_on_gpu(const Machine&, const Buffer&) { return std::nullopt; }

GpuRates measured_gpu_rates() { refuse_without_cuda(); }

std::unique_ptr<Machine> make_cuda_machine(Program, const OpTable&, const MachineOptions&) { refuse_without_cuda(); }

}  // namespace centavo
