#include "program/builder.h"

namespace centavo {

Builder::Builder(const OpTable& ops, std::string section, DType compute) : ops_(&ops), compute_(compute) {
  program.sections.push_back({section, {}});
  program.step.push_back({std::move(section), 1});
}

Builder::Builder(const OpTable& ops, Program existing, std::string section, Stage section_stage)
    : program(std::move(existing)), stage(section_stage), ops_(&ops), compute_(DType::f32) {
  section_ = program.sections.size();
  program.sections.push_back({section, {}});
  program.step.push_back({std::move(section), 1});
}

DType Builder::output_dtype(const OpDef& def, const Op& op, size_t i) const {
  DType compute = compute_;
  for (size_t k = 0; k < op.inputs.size() && k < def.inputs.size(); ++k) {
    if (def.inputs[k].type == Type::compute && op.inputs[k] != kNone) {
      compute = program.buffer(op.inputs[k]).dtype;
      break;
    }
  }
  switch (def.outputs[i].type) {
    case Type::compute:
    case Type::product: return compute;
    case Type::statistic:
    case Type::gradient: return accumulator_of(compute);
    case Type::fp8: return op.stage == Stage::forward ? DType::f8e4m3 : DType::f8e5m2;
    case Type::f32: return DType::f32;
    case Type::i32: return DType::i32;
    case Type::i64: return DType::i64;
    case Type::any: return program.buffer(op.inputs.at(0)).dtype;
  }
  return compute;
}

std::vector<BufferId> Builder::call(std::string_view kind, std::vector<BufferId> inputs,
                                    const std::vector<Into>& outputs, std::map<std::string, Attribute> attributes) {
  const OpDef& def = ops_->at(kind);
  while (!inputs.empty() && inputs.back() == kNone) inputs.pop_back();
  Op op;
  op.id = op.logical = program.next_op_id();
  op.kind = std::string(kind);
  op.inputs = std::move(inputs);
  op.attributes = std::move(attributes);
  op.stage = stage;
  op.layer = layer;
  for (const Into& into : outputs) op.outputs.push_back(into.existing);

  const std::vector<Shape> shapes = def.shapes(OpView(program, op));
  std::vector<BufferId> results;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].name.empty()) {
      Buffer buffer{.name = outputs[i].name, .dtype = output_dtype(def, op, i), .shape = shapes.at(i)};
      op.outputs[i].buffer = program.add(std::move(buffer));
    }
    results.push_back(op.outputs[i].buffer);
  }
  while (!op.outputs.empty() && op.outputs.back().buffer == kNone) op.outputs.pop_back();
  program.sections[section_].ops.push_back(std::move(op));
  return results;
}

BufferId Builder::parameter(std::string name, Shape shape, bool trainable) {
  return program.add({.name = std::move(name),
                      .dtype = compute_,
                      .shape = std::move(shape),
                      .kind = BufferKind::parameter,
                      .persistent = true,
                      .trainable = trainable});
}

namespace {

std::optional<Ring> ring_of(BufferId counter, int64_t slots) {
  if (counter == kNone) return std::nullopt;
  return Ring{counter, slots};
}

}  // namespace

BufferId Builder::stream_in(std::string name, DType dtype, Shape shape, BufferId counter, int64_t slots) {
  return program.add({.name = std::move(name),
                      .dtype = dtype,
                      .shape = std::move(shape),
                      .kind = BufferKind::stream_in,
                      .ring = ring_of(counter, slots)});
}

BufferId Builder::stream_out(std::string name, DType dtype, Shape shape, BufferId counter, int64_t slots) {
  return program.add({.name = std::move(name),
                      .dtype = dtype,
                      .shape = std::move(shape),
                      .kind = BufferKind::stream_out,
                      .ring = ring_of(counter, slots)});
}

BufferId Builder::control(std::string name, DType dtype, Shape shape, bool persistent) {
  return program.add({.name = std::move(name),
                      .dtype = dtype,
                      .shape = std::move(shape),
                      .kind = BufferKind::control,
                      .persistent = persistent});
}

BufferId Builder::cache(std::string name, Shape shape) {
  return program.add({.name = std::move(name),
                      .dtype = compute_,
                      .shape = std::move(shape),
                      .kind = BufferKind::cache,
                      .persistent = true});
}

}  // namespace centavo
