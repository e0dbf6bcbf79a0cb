#include "program/tensors.h"

#include <algorithm>

namespace centavo {
namespace {

bool is_tensor_of(const Buffer& b, BufferId unit) { return b.view && b.view->parent == unit && !b.shard; }

// What tensors of this buffer are called behind the tensor's name.
std::string suffix_of(const Program& program, const Buffer& flat, BufferId unit) {
  if (flat.kind == BufferKind::parameter) return {};
  const std::string& name = program.buffer(unit).name;
  CHECK(flat.name.starts_with(name + "."), "{} has the layout of {} and not its name", flat.name, name);
  return flat.name.substr(name.size());
}

bool is_own(const Buffer& b) { return b.persistent && !b.view && !b.borrowed; }

void append_parts(const Program& program, BufferId id, BufferId unit, std::vector<TensorPart>& parts) {
  const Buffer& flat = program.buffer(id);
  const int64_t first = flat.first_element();
  const int64_t last = first + flat.elements();
  const std::string suffix = suffix_of(program, flat, unit);
  for (const Buffer& tensor : program.buffers) {
    if (!is_tensor_of(tensor, unit)) continue;
    const int64_t origin = tensor.view->offset;
    const int64_t begin = std::max(first, origin);
    const int64_t end = std::min(last, origin + tensor.elements());
    if (begin >= end) continue;
    parts.push_back(
        {tensor.name + suffix, flat.dtype, tensor.shape, flat.kind, begin - origin, end - origin, id, begin - first});
  }
}

bool has_tensors(const Program& program, BufferId id) {
  return std::ranges::any_of(program.buffers, [&](const Buffer& b) { return is_tensor_of(b, id); });
}

// The unit whose tensors lie in the buffer; kNone where it is a tensor of its own.
BufferId unit_of(const Program& program, BufferId id) {
  const BufferId layout = program.buffer(id).layout;
  if (layout != kNone) return layout;
  return has_tensors(program, id) ? id : kNone;
}

}  // namespace

std::vector<TensorPart> tensor_parts(const Program& program) {
  std::vector<TensorPart> parts;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& b = program.buffers[i];
    const auto id = static_cast<BufferId>(i);
    if (!is_own(b)) continue;
    if (const BufferId unit = unit_of(program, id); unit != kNone) {
      append_parts(program, id, unit, parts);
    } else {
      parts.push_back({b.name, b.dtype, b.shape, b.kind, 0, b.elements(), id, 0});
    }
  }
  return parts;
}

std::vector<LogicalTensor> logical_tensors(const Program& program) {
  std::vector<LogicalTensor> tensors;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& b = program.buffers[i];
    if (!is_own(b)) continue;
    const BufferId unit = unit_of(program, static_cast<BufferId>(i));
    if (unit == kNone) tensors.push_back({b.name, b.dtype, b.shape, b.kind});
    for (const Buffer& tensor : program.buffers) {
      if (unit == kNone || !is_tensor_of(tensor, unit)) continue;
      tensors.push_back({tensor.name + suffix_of(program, b, unit), b.dtype, tensor.shape, b.kind});
    }
  }
  return tensors;
}

}  // namespace centavo
