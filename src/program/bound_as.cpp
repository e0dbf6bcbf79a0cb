#include "program/bound_as.h"

#include <algorithm>

namespace centavo {

std::vector<bool> roots_bound_as(const Program& program, const OpTable& ops, std::initializer_list<Type> types) {
  std::vector<bool> bound(program.buffers.size(), false);
  const auto mark = [&](BufferId id, const Slot& slot) {
    if (id == kNone || std::ranges::count(types, slot.type) == 0) return;
    bound[static_cast<size_t>(program.root(id))] = true;
  };
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) {
      const OpDef& def = ops.at(op.kind);
      for (size_t i = 0; i < op.inputs.size(); ++i) mark(op.inputs[i], def.inputs[i]);
      for (size_t i = 0; i < op.outputs.size(); ++i) mark(op.outputs[i].buffer, def.outputs[i]);
    }
  }
  return bound;
}

}  // namespace centavo
