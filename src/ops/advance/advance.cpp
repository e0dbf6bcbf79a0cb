#include "ops/advance/advance.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  expect(v.in(0) == Shape{1}, "counter must be [1], not {}", to_string(v.in(0)));
  expect(v.has_output(0) && v.op().outputs[0].buffer == v.op().inputs[0], "advance must write the counter it reads");
  return {v.in(0)};
}

Cost cost(const OpView& v) { return {.flops = 1, .bytes = operand_bytes(v)}; }

}  // namespace

void advance(Builder& b, BufferId counter) { b.call("advance", {counter}, {counter}); }

OpDef advance_def() {
  return {.kind = "advance",
          .inputs = {{"counter", Type::i64}},
          .outputs = {{"counter", Type::i64, Slot::required, Slot::writes_only, Slot::in_place}},
          .attributes = {},
          .shapes = shapes,
          .cost = cost,
          .cpu = advance_cpu};
}

}  // namespace centavo
