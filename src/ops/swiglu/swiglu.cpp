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
  return {gate_up};
}

void gradient(Gradients& g, const Op& op) {
  g.emit("swiglu_grad", {g.of(op.outputs[0].buffer), op.inputs[0]}, {g.into(op.inputs[0])});
}

// An exponential counts as 15 operations, a division as one.
Cost cost(const OpView& v) {
  return {.flops = 20.0 * static_cast<double>(v.output(0).elements()), .bytes = operand_bytes(v)};
}

Cost grad_cost(const OpView& v) {
  return {.flops = 26.0 * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
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
          .outputs = {{"dgate_up"}},
          .attributes = {},
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu = swiglu_grad_cpu};
}

}  // namespace centavo
