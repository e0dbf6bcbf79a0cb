#include "train/diagnose.h"

#include "machine/non_finite.h"
#include "program/text.h"

namespace centavo {
namespace {

void set_counter(Machine& machine, const std::string& name, int64_t value) {
  machine.write(name, std::as_bytes(std::span<const int64_t>(&value, 1)));
}

}  // namespace

NonFinite non_finite_output(const Machine& machine, const OpTable& ops, int64_t call, const Section& section,
                            const Op& op) {
  if (ops.at(op.kind).collective) return {};
  for (const Output& output : op.outputs) {
    if (output.buffer == kNone) continue;
    const Buffer& buffer = machine.program().buffer(output.buffer);
    const NonFiniteElements elements = non_finite_elements(machine, buffer);
    if (elements.count == 0) continue;
    return {true, call, print(machine.program(), section, op), op.layer, buffer.name, elements.first, elements.count};
  }
  return {};
}

NonFinite find_non_finite(Machine& machine, const OpTable& ops, int64_t step, int64_t micro_batches) {
  NonFinite result;
  set_counter(machine, "step", step);
  set_counter(machine, "micro_step", step * micro_batches);
  machine.step([&](int64_t call, const Section& section, const Op& op) {
    if (!result.found) result = non_finite_output(machine, ops, call, section, op);
  });
  return result;
}

}  // namespace centavo
