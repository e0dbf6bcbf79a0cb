#include "machine/make_machine.h"

#include "base/errors.h"
#include "base/host.h"
#include "base/memory.h"
#include "machine/cpu/cpu_machine.h"
#include "machine/cuda/make_cuda_machine.h"
#include "machine/gpu_memory.h"
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

DeviceChoice choose_device(std::string_view wanted, int64_t ranks) {
  if (wanted == "cuda") {
    if (!built_with_cuda()) refuse_without_cuda();
    if (ranks > 1) {
      user_error("device = \"cuda\" is for one rank so far and the run has {}; use one, or device = \"cpu\"", ranks);
    }
    return {DeviceKind::cuda};
  }
  CHECK(wanted == "cpu" || wanted == "auto", "device {}", wanted);
  if (wanted == "cpu" || !built_with_cuda()) return {DeviceKind::cpu};
  if (gpu_count() == 0) {
    const std::string trouble = gpu_trouble();
    return {DeviceKind::cpu, trouble.empty() ? "" : "the processor, because " + trouble};
  }
  if (ranks > 1) return {DeviceKind::cpu, "the processor: a GPU computes for one rank so far"};
  return {DeviceKind::cuda};
}

void require_free_of_others(DeviceKind device, const std::string& what, int64_t needed_bytes, int64_t own_bytes) {
  if (device == DeviceKind::cpu) return;
  const Gpu gpu = open_gpu(0);
  const GpuMemory memory{.gpu = gpu.name,
                         .total_bytes = gpu.total_bytes,
                         .free_bytes = gpu.free_bytes,
                         .own_bytes = own_bytes,
                         .processes = Nvml(gpu.pci_bus_id).processes()};
  const std::string held = held_by_others(what, needed_bytes, memory);
  if (!held.empty()) throw DeviceError(held);
}

CudaTraits planned_gpu() { return gpu_count() > 0 ? open_gpu(0).traits : CudaTraits(); }

std::string planned_gpu_name() { return gpu_count() > 0 ? open_gpu(0).name : std::string(); }

std::string device_name(DeviceKind device) { return device == DeviceKind::cpu ? cpu_facts().model : open_gpu(0).name; }

std::string gpu_bus_id() { return open_gpu(0).pci_bus_id; }

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
