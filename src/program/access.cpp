#include "program/access.h"

#include <algorithm>

namespace centavo {
namespace {

Access access(const Program& program, BufferId id, Access::Mode mode) {
  int64_t offset = 0;
  const BufferId root = program.root(id, &offset);
  const Buffer& buffer = program.buffer(id);
  const int64_t begin = offset * size_of(buffer.dtype);
  return {id, root, begin, begin + buffer.slot_bytes(), mode};
}

}  // namespace

std::vector<Access> accesses(const Program& program, const Op& op) {
  std::vector<Access> reads;
  std::vector<Access> updates;
  std::vector<Access> writes;
  const auto add_counter = [&](BufferId id) {
    const Buffer& root = program.buffer(program.root(id));
    if (root.ring) reads.push_back(access(program, root.ring->counter, Access::read));
  };
  for (const BufferId id : op.inputs) {
    if (id == kNone) continue;
    add_counter(id);
    const bool also_output = std::ranges::find(op.outputs, id, &Output::buffer) != op.outputs.end();
    if (!also_output) reads.push_back(access(program, id, Access::read));
  }
  for (const Output& output : op.outputs) {
    if (output.buffer == kNone) continue;
    add_counter(output.buffer);
    const bool also_input = std::ranges::find(op.inputs, output.buffer) != op.inputs.end();
    if (also_input || output.bind == Bind::add) {
      updates.push_back(access(program, output.buffer, Access::update));
    } else {
      writes.push_back(access(program, output.buffer, Access::write));
    }
  }
  if (op.workspace != kNone) writes.push_back(access(program, op.workspace, Access::write));
  reads.insert(reads.end(), updates.begin(), updates.end());
  reads.insert(reads.end(), writes.begin(), writes.end());
  return reads;
}

bool conflict(const Program& program, const Op& a, const Op& b) {
  const std::vector<Access> of_b = accesses(program, b);
  return std::ranges::any_of(accesses(program, a), [&](const Access& x) {
    return std::ranges::any_of(of_b, [&](const Access& y) {
      const bool overlap = x.root == y.root && x.begin < y.end && y.begin < x.end;
      return overlap && (x.mode != Access::read || y.mode != Access::read);
    });
  });
}

}  // namespace centavo
