#include "train/run_state.h"

#include <algorithm>

#include "program/tensors.h"

namespace centavo {

std::vector<TensorView> persistent_tensors(const CpuMachine& machine) {
  std::vector<TensorView> tensors;
  for (const TensorPart& part : tensor_parts(machine.program())) {
    CHECK(part.elements() == element_count(part.shape), "{} is cut", part.tensor);
    const int64_t size = size_of(part.dtype);
    const std::byte* memory = machine.memory(machine.program().buffer(part.buffer).name) + part.at * size;
    tensors.push_back({part.tensor, part.dtype, part.shape, {memory, static_cast<size_t>(part.elements() * size)}});
  }
  return tensors;
}

void restore(CpuMachine& machine, const SafetensorsFile& state) {
  const std::vector<TensorPart> wanted = tensor_parts(machine.program());
  for (const TensorPart& part : wanted) {
    const TensorView* stored = state.find(part.tensor);
    if (stored == nullptr) user_error("the checkpoint lacks {}; it belongs to another model", part.tensor);
    if (stored->dtype != part.dtype || stored->shape != part.shape) {
      user_error("the checkpoint's {} is {}{}, this run's is {}{}; it belongs to another model", part.tensor,
                 name_of(stored->dtype), to_string(stored->shape), name_of(part.dtype), to_string(part.shape));
    }
  }
  for (const TensorView& stored : state.tensors()) {
    if (std::ranges::find(wanted, stored.name, &TensorPart::tensor) != wanted.end()) continue;
    user_error("the checkpoint holds {}, which this run does not have; it belongs to another model", stored.name);
  }
  for (const TensorPart& part : wanted) {
    machine.write_elements(machine.program().buffer(part.buffer).name, part.at, state.find(part.tensor)->bytes);
  }
}

}  // namespace centavo
