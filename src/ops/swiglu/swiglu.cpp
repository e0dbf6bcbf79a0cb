#include "ops/swiglu/swiglu.h"

#include "program/gradients.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  const Shape& gate_up = v.in(0);
  expect(gate_up.size() == 2 && gate_up[1] % 2 == 0, "gate_up must be [N, 2F], not {}", to_string(gate_up));
  return {{gate_up[0], gate_up[1] / 2}};
}

std::vector<Shape> grad_shapes(const OpView& v) {
  const Shape& ds = v.in(0);
  expect(ds.size() == 2, "ds must be [N, F], not {}", to_string(ds));
  const Shape gate_up = {ds[0], 2 * ds[1]};
  expect(v.in(1) == gate_up, "gate_up must be {}, not {}", to_string(gate_up), to_string(v.in(1)));
  const auto root_of = [&](BufferId id) { return v.program().root(id); };
  const bool in_gate_up = v.has_output(1) && root_of(v.op().outputs[1].buffer) == root_of(v.op().inputs[1]);
  expect(!in_gate_up, "s must not share memory with gate_up");
  return {gate_up, ds};
}

void gradient(Gradients& g, const Op& op) {
  g.emit("swiglu_grad", {g.of(op.outputs[0].buffer), op.inputs[0]}, {g.into(op.inputs[0])});
}

// An exponential counts as 15 operations, a division as one.
Cost cost(const OpView& v) {
  return {.flops = 20.0 * static_cast<double>(v.output(0).elements()), .bytes = operand_bytes(v)};
}

// s is one product more.
Cost grad_cost(const OpView& v) {
  const double each = v.has_output(1) ? 27.0 : 26.0;
  return {.flops = each / 2 * static_cast<double>(v.input(1).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

BufferId swiglu(Builder& b, const std::string& name, BufferId gate_up) {
  return b.call("swiglu", {gate_up}, {name})[0];
}

OpDef swiglu_def() {
  return {.kind = "swiglu",
          .inputs = {{"gate_up"}},
          .outputs = {{"s"}},
          .attributes = {},
          .shapes = shapes,
          .gradient = gradient,
          .cost = cost,
          .cpu = swiglu_cpu};
}

OpDef swiglu_grad_def() {
  return {.kind = "swiglu_grad",
          .inputs = {{"ds"}, {"gate_up"}},
          .outputs = {{"dgate_up"}, {"s", Type::compute, Slot::optional, Slot::writes_only, Slot::own_part}},
          .attributes = {},
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu = swiglu_grad_cpu};
}

std::optional<Op> swiglu_grad_with_s(const Op& grad, const Op& replay) {
  if (grad.kind != "swiglu_grad" || replay.kind != "swiglu") return std::nullopt;
  if (grad.outputs.size() != 1 || grad.inputs[1] != replay.inputs[0]) return std::nullopt;
  Op with_s = grad;
  with_s.outputs.push_back(replay.outputs[0]);
  return with_s;
}

}  // namespace centavo
