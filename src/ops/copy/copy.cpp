#include "ops/copy/copy.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  if (v.has_output(0)) {
    const DType dtype = v.output(0).dtype;
    expect(dtype == v.input(0).dtype, "y must be {} like x, not {}", name_of(v.input(0).dtype), name_of(dtype));
  }
  return {v.in(0)};
}

Cost cost(const OpView& v) { return {.bytes = operand_bytes(v)}; }

}  // namespace

BufferId copy(Builder& b, BufferId x, const Into& y) { return b.call("copy", {x}, {y})[0]; }

OpDef copy_def() {
  return {.kind = "copy",
          .inputs = {{"x", Type::any}},
          .outputs = {{"y", Type::any}},
          .attributes = {},
          .shapes = shapes,
          .cost = cost,
          .cpu = copy_cpu};
}

}  // namespace centavo
