#include "ops/add/add.h"

#include "program/gradients.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  expect(v.in(1) == v.in(0), "b must be {} like a, not {}", to_string(v.in(0)), to_string(v.in(1)));
  return {v.in(0)};
}

void gradient(Gradients& g, const Op& op) {
  const BufferId dc = g.of(op.outputs[0].buffer);
  g.contribute(op.inputs[0], dc);
  g.contribute(op.inputs[1], dc);
}

Cost cost(const OpView& v) { return {.flops = static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)}; }

}  // namespace

BufferId add(Builder& b, const std::string& name, BufferId a, BufferId c) { return b.call("add", {a, c}, {name})[0]; }

OpDef add_def() {
  return {.kind = "add",
          .inputs = {{"a"}, {"b"}},
          .outputs = {{"c", Type::compute, Slot::required, Slot::writes_only, Slot::in_place}},
          .attributes = {},
          .shapes = shapes,
          .gradient = gradient,
          .cost = cost,
          .cpu = add_cpu};
}

}  // namespace centavo
