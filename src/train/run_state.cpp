#include "train/run_state.h"

namespace centavo {
namespace {

bool is_state(const Buffer& b) { return b.persistent && !b.view && !b.borrowed; }

}  // namespace

std::vector<TensorView> persistent_tensors(const CpuMachine& machine) {
  std::vector<TensorView> tensors;
  for (const Buffer& b : machine.program().buffers) {
    if (!is_state(b)) continue;
    tensors.push_back({b.name, b.dtype, b.shape, {machine.memory(b.name), static_cast<size_t>(b.slot_bytes())}});
  }
  return tensors;
}

void restore(CpuMachine& machine, const SafetensorsFile& state) {
  const std::vector<TensorView> wanted = persistent_tensors(machine);
  for (const TensorView& tensor : wanted) {
    const TensorView* stored = state.find(tensor.name);
    if (stored == nullptr) user_error("the checkpoint lacks {}; it belongs to another model", tensor.name);
    if (stored->dtype != tensor.dtype || stored->shape != tensor.shape) {
      user_error("the checkpoint's {} is {}{}, this run's is {}{}; it belongs to another model", tensor.name,
                 name_of(stored->dtype), to_string(stored->shape), name_of(tensor.dtype), to_string(tensor.shape));
    }
  }
  for (const TensorView& stored : state.tensors()) {
    const BufferId id = machine.program().find(stored.name);
    if (id == kNone || !is_state(machine.program().buffer(id))) {
      user_error("the checkpoint holds {}, which this run does not have; it belongs to another model", stored.name);
    }
  }
  for (const TensorView& tensor : wanted) machine.write(tensor.name, state.find(tensor.name)->bytes);
}

}  // namespace centavo
