#include "passes/offload.h"

#include <algorithm>

#include "program/access.h"

namespace centavo {
namespace {

// How the ops of a section use a buffer.
struct Usage {
  int producer = -1;  // the first op that touches it
  int last_forward = -1;
  int first_backward = -1;
  bool whole = true;           // every op names the buffer itself, not a window of it
  bool changed_later = false;  // something but the forward writes it
};

std::vector<Usage> usage_of(const Program& program, const Section& section) {
  std::vector<Usage> usage(program.buffers.size());
  for (int i = 0; i < static_cast<int>(section.ops.size()); ++i) {
    const Op& op = section.ops[static_cast<size_t>(i)];
    for (const Access& access : accesses(program, op)) {
      Usage& use = usage[static_cast<size_t>(access.root)];
      if (use.producer < 0) use.producer = i;
      if (access.buffer != access.root) use.whole = false;
      if (op.stage == Stage::forward) use.last_forward = i;
      if (op.stage == Stage::backward && use.first_backward < 0) use.first_backward = i;
      if (op.stage != Stage::forward && access.mode != Access::read) use.changed_later = true;
    }
  }
  return usage;
}

Op copy_op(int32_t id, BufferId x, BufferId y, const Op& beside) {
  Op op;
  op.id = op.logical = id;
  op.kind = "copy";
  op.inputs = {x};
  op.outputs = {{y, Bind::write}};
  op.stage = beside.stage;
  op.layer = beside.layer;
  return op;
}

// Ops to put around each op of a section.
struct Around {
  std::vector<Op> before;
  std::vector<Op> behind;
};

void insert(Section& section, std::vector<Around> around) {
  std::vector<Op> ops;
  for (size_t i = 0; i < section.ops.size(); ++i) {
    std::ranges::move(around[i].before, std::back_inserter(ops));
    ops.push_back(std::move(section.ops[i]));
    std::ranges::move(around[i].behind, std::back_inserter(ops));
  }
  section.ops = std::move(ops);
}

bool crosses_border(const Section& section, const Usage& use) {
  return use.whole && !use.changed_later && use.last_forward >= 0 && use.first_backward > use.last_forward &&
         section.ops[static_cast<size_t>(use.producer)].layer >= 0;
}

void offload_activations(Program& program, int64_t smallest_bytes) {
  Section* micro = program.find_section("micro");
  CHECK(micro != nullptr, "there is no micro-batch whose activations could wait");
  const std::vector<Usage> usage = usage_of(program, *micro);
  std::vector<Around> around(micro->ops.size());
  int32_t next_id = program.next_op_id();
  for (size_t i = 0; i < usage.size(); ++i) {
    const Usage& use = usage[i];
    const auto id = static_cast<BufferId>(i);
    const Buffer& tensor = program.buffer(id);
    if (tensor.kind != BufferKind::activation || tensor.home != Home::device || tensor.persistent) continue;
    if (tensor.bytes() < smallest_bytes || !crosses_border(*micro, use)) continue;
    Buffer waiting = tensor;
    waiting.name += ".host";
    waiting.home = Home::host;
    const BufferId host = program.add(std::move(waiting));
    const Op& first_backward = micro->ops[static_cast<size_t>(use.first_backward)];
    const int layer = micro->ops[static_cast<size_t>(use.producer)].layer;
    Op out = copy_op(next_id++, id, host, micro->ops[static_cast<size_t>(use.last_forward)]);
    Op back = copy_op(next_id++, host, id, first_backward);
    out.layer = back.layer = layer;
    around[static_cast<size_t>(use.last_forward)].behind.push_back(std::move(out));
    around[static_cast<size_t>(use.first_backward)].before.push_back(std::move(back));
  }
  insert(*micro, std::move(around));
}

std::set<BufferId> states_of_update(const Program& program, int64_t smallest_bytes) {
  std::set<BufferId> states;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& b = program.buffers[i];
    const bool state = b.kind == BufferKind::optimizer_state && b.persistent && b.home == Home::device && !b.view;
    if (state && !b.borrowed && b.bytes() >= smallest_bytes) states.insert(static_cast<BufferId>(i));
  }
  for (const Section& section : program.sections) {
    const std::vector<Usage> usage = usage_of(program, section);
    std::erase_if(states, [&](BufferId id) {
      const Usage& use = usage[static_cast<size_t>(id)];
      return !use.whole || (use.producer >= 0 && section.name != "update");
    });
  }
  return states;
}

// The buffer on the device that stands in for a state; made when first asked for.
BufferId stand_in(Program& program, BufferId state) {
  Buffer device = program.buffer(state);
  device.name += ".device";
  device.home = Home::device;
  device.kind = BufferKind::activation;
  device.persistent = false;
  const BufferId existing = program.find(device.name);
  return existing != kNone ? existing : program.add(std::move(device));
}

// Rebinds the op's states to their stand-ins; returns what must stand before and behind it.
Around work_on_stand_ins(Program& program, Op& op, const std::set<BufferId>& states, int32_t& next_id) {
  Around around;
  for (const Access& access : accesses(program, op)) {
    if (!states.contains(access.root)) continue;
    const BufferId device = stand_in(program, access.root);
    if (access.mode != Access::write) around.before.push_back(copy_op(next_id++, access.root, device, op));
    if (access.mode != Access::read) around.behind.push_back(copy_op(next_id++, device, access.root, op));
    std::ranges::replace(op.inputs, access.root, device);
    for (Output& output : op.outputs) {
      if (output.buffer == access.root) output.buffer = device;
    }
  }
  return around;
}

void offload_states(Program& program, int64_t smallest_bytes) {
  const std::set<BufferId> states = states_of_update(program, smallest_bytes);
  Section* update = program.find_section("update");
  CHECK(update != nullptr, "there is no update whose states could wait");
  std::vector<Around> around;
  int32_t next_id = program.next_op_id();
  for (Op& op : update->ops) around.push_back(work_on_stand_ins(program, op, states, next_id));
  insert(*update, std::move(around));
  for (const BufferId state : states) program.buffer(state).home = Home::host;
}

}  // namespace

Program offload(Program program, const OffloadChoice& choice) {
  if (choice.what.contains(Offloaded::activations)) offload_activations(program, choice.smallest_bytes);
  if (choice.what.contains(Offloaded::states)) offload_states(program, choice.smallest_bytes);
  return program;
}

}  // namespace centavo
