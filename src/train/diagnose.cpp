#include "train/diagnose.h"

#include <cmath>

#include "program/text.h"

namespace centavo {
namespace {

// The first element that is not finite, or -1.
int64_t first_non_finite(const Machine& machine, const Buffer& b) {
  if (!is_float(b.dtype) || b.ring) return -1;
  int64_t found = -1;
  visit_float(b.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::vector<T> values(static_cast<size_t>(b.elements()));
    machine.read(b.name, std::as_writable_bytes(std::span<T>(values)));
    for (size_t i = 0; i < values.size() && found < 0; ++i) {
      if (!std::isfinite(static_cast<double>(convert<float>(values[i])))) found = static_cast<int64_t>(i);
    }
  });
  return found;
}

void set_counter(Machine& machine, const std::string& name, int64_t value) {
  machine.write(name, std::as_bytes(std::span<const int64_t>(&value, 1)));
}

}  // namespace

NonFinite find_non_finite(Machine& machine, const OpTable& ops, int64_t step, int64_t micro_batches) {
  NonFinite result;
  set_counter(machine, "step", step);
  set_counter(machine, "micro_step", step * micro_batches);
  machine.step([&](int64_t call, const Section& section, const Op& op) {
    if (result.found || ops.at(op.kind).collective) return;
    for (const Output& output : op.outputs) {
      if (output.buffer == kNone) continue;
      const Buffer& buffer = machine.program().buffer(output.buffer);
      const int64_t element = first_non_finite(machine, buffer);
      if (element < 0) continue;
      result = {true, call, print(machine.program(), section, op), buffer.name, element};
      return;
    }
  });
  return result;
}

}  // namespace centavo
