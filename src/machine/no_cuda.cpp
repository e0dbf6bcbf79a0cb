// A build without CUDA.

#include "machine/cuda/gpu_rates.h"
#include "machine/cuda/make_cuda_machine.h"

namespace centavo {

int gpu_count() { return 0; }

Gpu open_gpu(int) { refuse_without_cuda(); }

GpuRates measured_gpu_rates() { refuse_without_cuda(); }

std::unique_ptr<Machine> make_cuda_machine(Program, const OpTable&, const MachineOptions&) { refuse_without_cuda(); }

}  // namespace centavo
