#include "ops/sqnorm/sqnorm.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) { return {{norm_blocks(v.input(0).elements())}}; }

Cost cost(const OpView& v) {
  return {.flops = 2.0 * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

BufferId sqnorm(Builder& b, BufferId g, const Into& partials) { return b.call("sqnorm", {g}, {partials})[0]; }

OpDef sqnorm_def() {
  return {.kind = "sqnorm",
          .inputs = {{"g", Type::gradient}},
          .outputs = {{"partials", Type::f32}},
          .attributes = {},
          .shapes = shapes,
          .cost = cost,
          .cpu = sqnorm_cpu};
}

}  // namespace centavo
