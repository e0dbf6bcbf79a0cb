#include "ops/gelu/gelu.h"

#include "program/gradients.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  const Shape& x = v.in(0);
  expect(x.size() == 2, "x must be [N, F], not {}", to_string(x));
  return {x};
}

std::vector<Shape> grad_shapes(const OpView& v) {
  const Shape& dy = v.in(0);
  expect(dy.size() == 2, "dy must be [N, F], not {}", to_string(dy));
  expect(v.in(1) == dy, "x must be {} like dy, not {}", to_string(dy), to_string(v.in(1)));
  return {dy};
}

void gradient(Gradients& g, const Op& op) {
  g.emit("gelu_grad", {g.of(op.outputs[0].buffer), op.inputs[0]}, {g.into(op.inputs[0])});
}

// An exponential counts as 15 operations, a division as one.
Cost cost(const OpView& v) {
  return {.flops = 23.0 * static_cast<double>(v.output(0).elements()), .bytes = operand_bytes(v)};
}

Cost grad_cost(const OpView& v) {
  return {.flops = 30.0 * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

BufferId gelu(Builder& b, const std::string& name, BufferId x) { return b.call("gelu", {x}, {name})[0]; }

OpDef gelu_def() {
  return {.kind = "gelu",
          .inputs = {{"x"}},
          .outputs = {{"y"}},
          .attributes = {},
          .shapes = shapes,
          .gradient = gradient,
          .cost = cost,
          .cpu = gelu_cpu};
}

OpDef gelu_grad_def() {
  return {.kind = "gelu_grad",
          .inputs = {{"dy"}, {"x"}},
          .outputs = {{"dx"}},
          .attributes = {},
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu = gelu_grad_cpu};
}

}  // namespace centavo
