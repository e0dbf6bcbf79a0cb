#include "passes/units.h"

#include <algorithm>
#include <map>

#include "ops/fill/fill.h"
#include "program/bound_as.h"

namespace centavo {
namespace {

int64_t aligned(int64_t elements) { return (elements + kUnitAlignment - 1) / kUnitAlignment * kUnitAlignment; }

bool is_plain_parameter(const Buffer& b) { return b.kind == BufferKind::parameter && !b.view && b.persistent; }

// The layer of the first op that reads each buffer.
std::map<BufferId, int32_t> layers_of(const Program& program) {
  std::map<BufferId, int32_t> layers;
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) {
      for (const BufferId id : op.inputs) layers.emplace(id, op.layer);
    }
  }
  return layers;
}

std::string without_suffix(const std::string& name, const std::string& suffix) {
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

std::string unit_name(const Buffer& parameter, int32_t layer, bool of_norm) {
  CHECK(!of_norm || parameter.shape.size() == 1, "{} is a matrix that is read as a statistic", parameter.name);
  std::string name = of_norm ? "norms" : "vectors";
  if (parameter.shape.size() > 1) {
    name = layer >= 0 ? fmt::format("layers.{}", layer) : without_suffix(parameter.name, ".weight");
  }
  return parameter.trainable ? name : name + ".frozen";
}

// Names of the units, in the order of their first parameters, with their parameters' names.
struct Group {
  std::string unit;
  std::vector<std::string> parameters;
};

std::vector<Group> groups_of(const Program& program, const OpTable& ops) {
  // Read in the accumulator of the compute dtype: the parameters of norms.
  const std::vector<bool> statistics = roots_bound_as(program, ops, {Type::statistic});
  const std::map<BufferId, int32_t> layers = layers_of(program);
  std::vector<Group> groups;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& b = program.buffers[i];
    if (!is_plain_parameter(b)) continue;
    const auto id = static_cast<BufferId>(i);
    const auto layer = layers.find(id);
    const std::string unit = unit_name(b, layer == layers.end() ? -1 : layer->second, statistics[i]);
    auto group = std::ranges::find(groups, unit, &Group::unit);
    if (group == groups.end()) group = groups.insert(group, {unit, {}});
    group->parameters.push_back(b.name);
  }
  return groups;
}

// Puts a flat buffer in front of the first of `names` and makes all of them views into it.
void lay_out(Program& program, Buffer flat, const std::vector<std::string>& names) {
  const std::string flat_name = flat.name;
  BufferId first = program.find(names.front());
  int64_t offset = 0;
  for (const std::string& name : names) {
    const BufferId id = program.find(name);
    CHECK(program.buffer(id).dtype == flat.dtype, "{} is not {} like the unit {}", name, name_of(flat.dtype),
          flat_name);
    first = std::min(first, id);
    offset += aligned(program.buffer(id).elements());
  }
  flat.shape = {offset};
  program.insert(first, std::move(flat));
  offset = 0;
  for (const std::string& name : names) {
    Buffer& b = program.buffer(program.find(name));
    b.view = View{first, offset};
    b.persistent = b.trainable = false;
    offset += aligned(b.elements());
  }
}

// The gradients of a unit's tensors have the unit's layout.
void lay_out_gradients(Program& program, const Group& group) {
  std::vector<std::string> names;
  for (const std::string& parameter : group.parameters) {
    if (program.find(parameter + ".grad") != kNone) names.push_back(parameter + ".grad");
  }
  if (names.empty()) return;
  CHECK(names.size() == group.parameters.size(), "unit {}: some parameters have no gradient", group.unit);
  Buffer flat{.name = group.unit + ".grad",
              .dtype = program.buffer(program.find(names.front())).dtype,
              .kind = BufferKind::gradient};
  lay_out(program, std::move(flat), names);
  program.buffer(program.find(group.unit + ".grad")).layout = program.find(group.unit);
}

void fill_gaps(Program& program, const std::string& unit) {
  const BufferId gradient = program.find(unit + ".grad");
  if (gradient == kNone) return;
  for (Op& op : gap_fills(program, program.find(unit), gradient)) {
    op.id = op.logical = program.next_op_id();
    op.stage = Stage::update;
    program.sections.front().ops.push_back(std::move(op));
  }
}

}  // namespace

Program units(Program program, const OpTable& ops) {
  for (const Group& group : groups_of(program, ops)) {
    const Buffer& like = program.buffer(program.find(group.parameters.front()));
    Buffer flat{.name = group.unit,
                .dtype = like.dtype,
                .kind = BufferKind::parameter,
                .persistent = true,
                .trainable = like.trainable};
    lay_out(program, std::move(flat), group.parameters);
    lay_out_gradients(program, group);
    fill_gaps(program, group.unit);
  }
  return program;
}

std::vector<BufferId> unit_buffers(const Program& program) {
  std::vector<BufferId> found;
  for (const Buffer& b : program.buffers) {
    if (b.view && !b.shard && b.kind == BufferKind::parameter && std::ranges::count(found, b.view->parent) == 0) {
      found.push_back(b.view->parent);
    }
  }
  return found;
}

std::vector<BufferId> tensors_of(const Program& program, BufferId unit) {
  std::vector<BufferId> tensors;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& b = program.buffers[i];
    if (b.view && b.view->parent == unit && !b.shard) tensors.push_back(static_cast<BufferId>(i));
  }
  std::ranges::sort(tensors, {}, [&](BufferId id) { return program.buffer(id).view->offset; });
  return tensors;
}

bool holds_vectors(const Program& program, BufferId unit) {
  const std::vector<BufferId> tensors = tensors_of(program, unit);
  return program.buffer(tensors.empty() ? unit : tensors.front()).shape.size() == 1;
}

std::vector<Gap> gaps_of(const Program& program, BufferId unit, int64_t elements) {
  std::vector<Gap> gaps;
  int64_t end = 0;
  for (const BufferId id : tensors_of(program, unit)) {
    const Buffer& b = program.buffer(id);
    if (b.view->offset > end) gaps.push_back({end, b.view->offset});
    end = b.view->offset + b.elements();
  }
  if (elements > end) gaps.push_back({end, elements});
  return gaps;
}

std::vector<Op> gap_fills(Program& program, BufferId unit, BufferId gradient) {
  std::vector<Op> fills;
  const Buffer flat = program.buffer(gradient);
  for (const Gap& gap : gaps_of(program, unit, flat.elements())) {
    const std::string name = fmt::format("{}.gap.{}", flat.name, gap.begin);
    BufferId window = program.find(name);
    if (window == kNone) window = program.add({.name = name, .dtype = flat.dtype, .kind = flat.kind});
    program.buffer(window).shape = {gap.end - gap.begin};
    program.buffer(window).view = View{gradient, gap.begin};
    fills.push_back(fill_op(window, 0));
  }
  return fills;
}

}  // namespace centavo
