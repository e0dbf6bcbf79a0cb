#include "program/program.h"

#include <algorithm>
#include <array>

#include "program/references.h"

namespace centavo {

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim > 0 && count > kMostElements / dim) {
      user_error("a tensor of shape {} is larger than any memory; use smaller dimensions", to_string(shape));
    }
    count *= dim;
  }
  return count;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

int64_t Buffer::bytes() const { return ring ? ring->slots * align_up(slot_bytes()) : slot_bytes(); }

BufferId Program::find(std::string_view name) const {
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i].name == name) return static_cast<BufferId>(i);
  }
  return kNone;
}

const Section* Program::find_section(std::string_view name) const {
  const auto it = std::ranges::find(sections, name, &Section::name);
  return it == sections.end() ? nullptr : &*it;
}

Section* Program::find_section(std::string_view name) {
  const auto it = std::ranges::find(sections, name, &Section::name);
  return it == sections.end() ? nullptr : &*it;
}

BufferId Program::add(Buffer buffer) {
  CHECK(find(buffer.name) == kNone, "buffer {} is declared twice", buffer.name);
  buffers.push_back(std::move(buffer));
  return static_cast<BufferId>(buffers.size()) - 1;
}

void Program::insert(BufferId at, Buffer buffer) {
  CHECK(find(buffer.name) == kNone, "buffer {} is declared twice", buffer.name);
  each_reference(*this, [at](BufferId& id) { id += id >= at ? 1 : 0; });
  buffers.insert(buffers.begin() + at, std::move(buffer));
}

BufferId Program::root(BufferId id, int64_t* element_offset) const {
  int64_t offset = 0;
  while (buffer(id).view) {
    offset += buffer(id).view->offset;
    id = buffer(id).view->parent;
  }
  if (element_offset != nullptr) *element_offset = offset;
  return id;
}

int32_t Program::next_op_id() const {
  int32_t next = 0;
  for (const Section& section : sections) {
    for (const Op& op : section.ops) next = std::max({next, op.id, op.logical});
  }
  return next + 1;
}

std::string_view name_of(BufferKind kind) {
  constexpr std::array<std::string_view, 9> kNames = {"parameter", "gradient", "optimizer_state", "activation", "cache",
                                                      "workspace", "control",  "stream_in",       "stream_out"};
  return kNames.at(static_cast<size_t>(kind));
}

std::string_view name_of(Home home) { return home == Home::device ? "device" : "host"; }

std::string_view name_of(Lane lane) {
  constexpr std::array<std::string_view, kLanes> kNames = {"compute", "gather", "reduce", "copy"};
  return kNames.at(static_cast<size_t>(lane));
}

std::string_view name_of(Stage stage) {
  constexpr std::array<std::string_view, 3> kNames = {"forward", "backward", "update"};
  return kNames.at(static_cast<size_t>(stage));
}

}  // namespace centavo
