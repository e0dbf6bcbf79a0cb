// The machine that is asked for, on the device that is there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "machine/machine.h"
#include "program/op_table.h"

namespace centavo {

enum class DeviceKind : uint8_t { cpu, cuda };

std::string_view name_of(DeviceKind device);

// What computes, and in a sentence why it is not what one would expect; empty: nothing is unexpected.
struct DeviceChoice {
  DeviceKind device = DeviceKind::cpu;
  std::string note = {};
};

// "cpu", "cuda" or "auto": a GPU when this program was built for one, one is there and there is one rank, else the CPU.
// Throws UserError for "cuda" in a build without CUDA and with several ranks.
DeviceChoice choose_device(std::string_view wanted, int64_t ranks = 1);

// The GPU that programs are planned for: the one that is there, else the one of the default traits.
CudaTraits planned_gpu();
std::string planned_gpu_name();  // empty: none is there

// Which kernels compute the program's attention on such a GPU, and why: "cuDNN 9.19", "own kernel: head size 40", both
// ways where they differ; empty without attention. As the machine runs it, else as far as it is known without a GPU.
std::string attention_choice(const Program& program, const CudaTraits& gpu);
std::string attention_choice(const Machine& machine);

// Which products of a GPU's machine run in one kernel with what follows them, as timed there: "linear_swiglu fused;
// linear_dx_swiglu_grad apart"; empty without such ops.
std::string fused_choice(const Machine& machine);

// As its maker calls it; that of a GPU throws DeviceError when there is none.
std::string device_name(DeviceKind device);

// Where the GPU is on the PCI bus, as base/nvml.h wants it. Throws DeviceError when there is none.
std::string gpu_bus_id();

// Memory that a machine on the device can have now. Throws DeviceError when there is no GPU.
int64_t available_bytes(DeviceKind device);

// Throws DeviceError, with their names, when other processes hold memory of the GPU that `what` needs and would have
// without them. `own_bytes` of it are held by this process.
void require_free_of_others(DeviceKind device, const std::string& what, int64_t needed_bytes, int64_t own_bytes = 0);

struct MachineOptions {
  DeviceKind device = DeviceKind::cpu;
  int64_t threads = 0;         // of the processor; 0: all the process may use
  bool deterministic = false;  // of GPUs; the CPU always is
  bool debug = false;          // placed with red zones where the machine has them
  // The machine on the same device that owns the buffers this program borrows; it must outlive this one.
  Machine* lender = nullptr;
  // How collective ops reach the other ranks; null: this rank is alone. It must outlive the machine.
  Communicator* communicator = nullptr;
  // CPU: where the arena of home `host` lies, as a file without a name; empty: in ordinary memory.
  std::string host_directory = {};
  // GPUs: where the fastest algorithms are remembered; empty: nowhere.
  std::string tuning_directory = {};
};

// The program must be verified and placed for the device's traits. Errors are those of CpuMachine and CudaMachine.
std::unique_ptr<Machine> make_machine(Program program, const OpTable& ops, const MachineOptions& options);

}  // namespace centavo
