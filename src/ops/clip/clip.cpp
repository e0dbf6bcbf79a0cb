#include "ops/clip/clip.h"

namespace centavo {
namespace {

enum In : size_t { kPartials, kLoss, kCount };

std::vector<Shape> shapes(const OpView& v) {
  expect(v.in(kPartials).size() == 1, "partials must be [P], not {}", to_string(v.in(kPartials)));
  expect(v.in(kLoss) == Shape{1}, "loss must be [1], not {}", to_string(v.in(kLoss)));
  expect(v.in(kCount) == Shape{1}, "count must be [1], not {}", to_string(v.in(kCount)));
  expect(v.real("max_norm") >= 0, "max_norm must be 0 (no clipping) or more, not {}", v.real("max_norm"));
  return {{1}, {1}, {4}};
}

Cost cost(const OpView& v) {
  return {.flops = static_cast<double>(v.input(kPartials).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

Clipped clip(Builder& b, const ClipInputs& in, const ClipOutputs& out, double max_norm) {
  const auto made =
      b.call("clip", {in.partials, in.loss, in.count}, {out.scale, out.finite, out.metrics}, {{"max_norm", max_norm}});
  return {made[0], made[1], made[2]};
}

OpDef clip_def() {
  return {.kind = "clip",
          .inputs = {{"partials", Type::f32}, {"loss", Type::statistic}, {"count", Type::i32}},
          .outputs = {{"scale", Type::f32}, {"finite", Type::i32}, {"metrics", Type::f32}},
          .attributes = {{"max_norm", AttributeSpec::real}},
          .shapes = shapes,
          .cost = cost,
          .cpu = clip_cpu};
}

}  // namespace centavo
