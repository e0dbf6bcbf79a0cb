#include "program/references.h"

#include <algorithm>

#include "base/errors.h"

namespace centavo {

bool reads(const Op& op, BufferId id) { return std::ranges::find(op.inputs, id) != op.inputs.end(); }

bool uses(const Op& op, BufferId id) {
  return reads(op, id) || std::ranges::find(op.outputs, id, &Output::buffer) != op.outputs.end();
}

void remove(Program& program, BufferId id) {
  each_reference(program, [&](BufferId& other) {
    CHECK(other != id, "buffer {} is removed and referred to", program.buffer(id).name);
    other -= other > id ? 1 : 0;
  });
  program.buffers.erase(program.buffers.begin() + id);
}

}  // namespace centavo
