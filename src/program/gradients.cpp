#include "program/gradients.h"

#include <algorithm>

namespace centavo {

Gradients::Gradients(Program& program, const OpTable& ops, size_t section)
    : program_(&program), ops_(&ops), section_(section), next_id_(program.next_op_id()) {}

BufferId Gradients::of(BufferId value) const {
  const auto it = known_.find(value);
  return it == known_.end() ? kNone : it->second.buffer;
}

bool Gradients::wanted(BufferId value) const { return value != kNone && wanted_.contains(value); }

std::string Gradients::unused_name(const std::string& base) const {
  std::string name = base;
  for (int i = 2; program_->find(name) != kNone; ++i) name = fmt::format("{}.{}", base, i);
  return name;
}

BufferId Gradients::declare(const std::string& name, BufferId like) {
  const Buffer& value = program_->buffer(like);
  const bool parameter = value.kind == BufferKind::parameter;
  return program_->add({.name = unused_name(name),
                        .dtype = parameter ? accumulator_of(value.dtype) : value.dtype,
                        .shape = value.shape,
                        .kind = parameter ? BufferKind::gradient : BufferKind::activation});
}

namespace {

std::string gradient_name(const Buffer& value) {
  return value.kind == BufferKind::parameter ? value.name + ".grad" : "d." + value.name;
}

}  // namespace

Output Gradients::fresh(BufferId value) {
  const Buffer& like = program_->buffer(value);
  return {program_->add({.name = unused_name(gradient_name(like)), .dtype = like.dtype, .shape = like.shape}),
          Bind::write};
}

Output Gradients::into(BufferId value) {
  if (!wanted(value)) return {};
  const auto it = known_.find(value);
  if (it == known_.end()) {
    const BufferId buffer = declare(gradient_name(program_->buffer(value)), value);
    known_[value] = {buffer, false};
    return {buffer, Bind::write};
  }
  if (!it->second.shared) return {it->second.buffer, Bind::add};
  const BufferId part = declare(gradient_name(program_->buffer(value)) + ".part", value);
  pending_[part] = value;
  return {part, Bind::write};
}

void Gradients::contribute(BufferId value, BufferId gradient) {
  if (!wanted(value) || gradient == kNone) return;
  if (program_->buffer(value).kind == BufferKind::parameter) {  // has a buffer of its own, by name
    emit("cast", {gradient}, {into(value)}, {{"rounding", std::string("nearest")}});
    return;
  }
  const auto it = known_.find(value);
  if (it != known_.end()) {
    const Output sum = fresh(value);
    emit("add", {it->second.buffer, gradient}, {sum});
    known_[value] = {sum.buffer, false};
    return;
  }
  // Shared from now on, for whoever else holds this buffer as well.
  for (auto& [other, known] : known_) known.shared = known.shared || known.buffer == gradient;
  known_[value] = {gradient, true};
}

void Gradients::replace(BufferId value, BufferId gradient) {
  if (!wanted(value)) return;
  if (program_->buffer(value).kind == BufferKind::parameter) {
    const Output whole = {into(value).buffer, Bind::write};
    emit("cast", {gradient}, {whole}, {{"rounding", std::string("nearest")}});
    return;
  }
  known_[value] = {gradient, false};
}

void Gradients::emit(std::string_view kind, std::vector<BufferId> inputs, std::vector<Output> outputs,
                     std::map<std::string, Attribute> attributes) {
  const bool useless = std::ranges::all_of(outputs, [](const Output& o) { return o.buffer == kNone; });
  if (useless) return;
  const OpDef& def = ops_->at(kind);
  std::vector<std::pair<BufferId, BufferId>> sums;  // an op that cannot add: (total, part)
  for (size_t i = 0; i < outputs.size(); ++i) {
    Output& output = outputs[i];
    if (output.bind != Bind::add || def.outputs[i].adding == Slot::can_add) continue;
    const Buffer& total = program_->buffer(output.buffer);
    const BufferId part = program_->add(
        {.name = unused_name(total.name + ".part"), .dtype = total.dtype, .shape = total.shape, .kind = total.kind});
    sums.emplace_back(output.buffer, part);
    output = {part, Bind::write};
  }
  while (!inputs.empty() && inputs.back() == kNone) inputs.pop_back();
  while (!outputs.empty() && outputs.back().buffer == kNone) outputs.pop_back();
  const std::vector<Output> written = outputs;
  Op op;
  op.id = op.logical = next_id_++;
  op.kind = std::string(kind);
  op.inputs = std::move(inputs);
  op.outputs = std::move(outputs);
  op.attributes = std::move(attributes);
  op.stage = Stage::backward;
  op.layer = layer_;
  program_->sections[section_].ops.push_back(std::move(op));

  for (const auto& [total, part] : sums) emit("add", {total, part}, {{total, Bind::write}});
  for (const Output& output : written) {
    const auto it = pending_.find(output.buffer);
    if (it == pending_.end()) continue;
    const BufferId value = it->second;
    pending_.erase(it);
    contribute(value, output.buffer);
  }
}

void Gradients::find_wanted(const std::vector<Op>& forward) {
  for (size_t i = 0; i < program_->buffers.size(); ++i) {
    if (program_->buffers[i].trainable) wanted_.insert(static_cast<BufferId>(i));
  }
  for (const Op& op : forward) {
    if (ops_->at(op.kind).gradient == nullptr) continue;
    const bool behind = std::ranges::any_of(op.inputs, [&](BufferId id) { return wanted(id); });
    if (!behind) continue;
    for (const Output& output : op.outputs) {
      if (output.buffer != kNone) wanted_.insert(output.buffer);
    }
  }
}

void Gradients::seed(BufferId value) {
  CHECK(value != kNone, "a seed names no value");
  const Buffer like = program_->buffer(value);
  known_[value] = {
      program_->add(
          {.name = "d." + like.name, .dtype = like.dtype, .shape = like.shape, .kind = BufferKind::stream_in}),
      true};
}

void Gradients::differentiate_op(const Op& op) {
  const OpDef& def = ops_->at(op.kind);
  if (def.gradient == nullptr) return;
  layer_ = op.layer;
  const bool reached = def.backward_replaces_forward || std::ranges::any_of(op.outputs, [&](const Output& output) {
                         return output.buffer != kNone && of(output.buffer) != kNone;
                       });
  const bool needed = std::ranges::any_of(op.inputs, [&](BufferId id) { return wanted(id); });
  if (reached && needed) def.gradient(*this, op);
}

}  // namespace centavo
