#include "ops/fill/fill.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  expect(v.has_output(0), "y is missing");
  return {v.out(0)};
}

Cost cost(const OpView& v) { return {.bytes = operand_bytes(v)}; }

}  // namespace

Op fill_op(BufferId y, double value) {
  Op op;
  op.kind = "fill";
  op.outputs = {{y, Bind::write}};
  op.attributes = {{"value", value}};
  return op;
}

OpDef fill_def() {
  return {.kind = "fill",
          .inputs = {},
          .outputs = {{"y", Type::gradient}},
          .attributes = {{"value", AttributeSpec::real}},
          .shapes = shapes,
          .cost = cost,
          .cpu = fill_cpu};
}

}  // namespace centavo
