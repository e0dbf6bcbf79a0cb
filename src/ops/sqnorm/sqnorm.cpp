#include "ops/sqnorm/sqnorm.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  const int64_t block = v.whole("block");
  expect(block > 0 && block <= kNormBlock && block % 16 == 0, "block must be a multiple of 16 up to {}, not {}",
         kNormBlock, block);
  return {{norm_blocks(v.input(0).elements(), block)}};
}

Cost cost(const OpView& v) {
  return {.flops = 2.0 * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

BufferId sqnorm(Builder& b, BufferId g, const Into& partials, int64_t block) {
  return b.call("sqnorm", {g}, {partials}, {{"block", block}})[0];
}

OpDef sqnorm_def() {
  return {.kind = "sqnorm",
          .inputs = {{"g", Type::gradient}},
          .outputs = {{"partials", Type::f32}},
          .attributes = {{"block", AttributeSpec::whole}},
          .shapes = shapes,
          .cost = cost,
          .cpu = sqnorm_cpu};
}

}  // namespace centavo
