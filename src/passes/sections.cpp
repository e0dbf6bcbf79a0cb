#include "passes/sections.h"

#include <algorithm>
#include <set>

#include "program/access.h"

namespace centavo {
namespace {

std::set<BufferId> read_by(const Program& program, const Section& section) {
  std::set<BufferId> roots;
  for (const Op& op : section.ops) {
    for (const Access& access : accesses(program, op)) {
      if (access.mode != Access::write) roots.insert(access.root);
    }
  }
  return roots;
}

// The micro-batch with every first contribution to a sum turned from a write into an addition.
Section adding(Program& program, const OpTable& ops, const Section& micro, const std::set<BufferId>& sums) {
  Section result{micro.name, {}};
  int32_t next_id = program.next_op_id();
  for (Op op : micro.ops) {
    std::vector<Op> additions;
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      Output& output = op.outputs[i];
      if (output.buffer == kNone || output.bind == Bind::add || !sums.contains(program.root(output.buffer))) continue;
      if (std::ranges::find(op.inputs, output.buffer) != op.inputs.end()) continue;  // updates in place already
      if (ops.at(op.kind).outputs[i].adding == Slot::can_add) {
        output.bind = Bind::add;
        continue;
      }
      const Buffer total = program.buffer(output.buffer);
      BufferId part = program.find(total.name + ".part");
      if (part == kNone) part = program.add({.name = total.name + ".part", .dtype = total.dtype, .shape = total.shape});
      Op addition;
      addition.id = addition.logical = next_id++;
      addition.kind = "add";
      addition.inputs = {output.buffer, part};
      addition.outputs = {output};
      addition.stage = op.stage;
      addition.layer = op.layer;
      additions.push_back(std::move(addition));
      output.buffer = part;
    }
    result.ops.push_back(std::move(op));
    for (Op& addition : additions) result.ops.push_back(std::move(addition));
  }
  return result;
}

// Every micro-batch ends by moving on to the next slot of the rings it read.
void advance_at_end(Program& program, Section& micro) {
  const BufferId counter = program.find("micro_step");
  if (counter == kNone) return;
  Op op;
  op.id = op.logical = program.next_op_id();
  op.kind = "advance";
  op.inputs = {counter};
  op.outputs = {{counter, Bind::write}};
  op.stage = Stage::update;
  micro.ops.push_back(std::move(op));
}

Section named(Section section, std::string name) {
  section.name = std::move(name);
  return section;
}

}  // namespace

Program sections(Program program, const OpTable& ops, int64_t micro_batches) {
  CHECK(micro_batches >= 1);
  Section* found = program.find_section("micro");
  CHECK(found != nullptr, "there is no micro-batch to make sections of");
  advance_at_end(program, *found);
  const Section* update = program.find_section("update");
  if (update == nullptr) {
    program.step = {{"micro", micro_batches}};
    return program;
  }
  const Section micro = *found;
  const Section last = *update;
  const Section later = adding(program, ops, micro, read_by(program, last));
  program.sections.clear();
  program.step.clear();
  if (micro_batches == 1) {
    program.sections = {named(micro, "only")};
    program.step = {{"only", 1}};
  } else {
    program.sections = {named(micro, "first")};
    program.step = {{"first", 1}};
    if (micro_batches > 2) {
      program.sections.push_back(named(later, "middle"));
      program.step.push_back({"middle", micro_batches - 2});
    }
    program.sections.push_back(named(later, "last"));
    program.step.push_back({"last", 1});
  }
  program.sections.push_back(last);
  program.step.push_back({"update", 1});
  return program;
}

}  // namespace centavo
