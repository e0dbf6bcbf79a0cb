#include "machine/make_machine.h"

#include "base/errors.h"
#include "base/host.h"
#include "base/memory.h"
#include "machine/cpu/cpu_machine.h"
#include "machine/cuda/make_cuda_machine.h"
#include "ops/cuda/kernels.h"

namespace centavo {
namespace {

CpuMachine* cpu_lender(Machine* lender) {
  auto* machine = dynamic_cast<CpuMachine*>(lender);
  CHECK(lender == nullptr || machine != nullptr, "a CPU machine borrows from another kind");
  return machine;
}

}  // namespace

std::string_view name_of(DeviceKind device) { return device == DeviceKind::cuda ? "cuda" : "cpu"; }

DeviceKind choose_device(std::string_view wanted) {
  if (wanted == "cuda") {
    if (!built_with_cuda()) refuse_without_cuda();
    return DeviceKind::cuda;
  }
  CHECK(wanted == "cpu" || wanted == "auto", "device {}", wanted);
  return wanted == "auto" && built_with_cuda() && gpu_count() > 0 ? DeviceKind::cuda : DeviceKind::cpu;
}

CudaTraits planned_gpu() { return gpu_count() > 0 ? open_gpu(0).traits : CudaTraits(); }

std::string device_name(DeviceKind device) { return device == DeviceKind::cpu ? cpu_facts().model : open_gpu(0).name; }

int64_t available_bytes(DeviceKind device) {
  return device == DeviceKind::cpu ? available_memory_bytes() : open_gpu(0).free_bytes;
}

std::unique_ptr<Machine> make_machine(Program program, const OpTable& ops, const MachineOptions& options) {
  if (options.device == DeviceKind::cuda) return make_cuda_machine(std::move(program), ops, options);
  return std::make_unique<CpuMachine>(std::move(program), ops,
                                      CpuMachine::Options{.threads = options.threads,
                                                          .debug = options.debug,
                                                          .lender = cpu_lender(options.lender),
                                                          .communicator = options.communicator,
                                                          .host_directory = options.host_directory});
}

}  // namespace centavo
