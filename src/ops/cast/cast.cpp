#include "ops/cast/cast.h"

namespace centavo {
namespace {

enum In : size_t { kX, kSeed, kStep };

void expect_stochastic(const OpView& v) {
  expect(v.has_input(kSeed) && v.has_input(kStep), "stochastic rounding needs seed and step");
  expect(v.in(kSeed) == Shape{1}, "seed must be [1], not {}", to_string(v.in(kSeed)));
  expect(v.in(kStep) == Shape{1}, "step must be [1], not {}", to_string(v.in(kStep)));
  const bool to_bf16 = !v.has_output(0) || v.output(0).dtype == DType::bf16;
  expect(v.input(kX).dtype == DType::f32 && to_bf16, "stochastic rounding goes from f32 to bf16");
}

std::vector<Shape> shapes(const OpView& v) {
  const std::string& rounding = v.text("rounding");
  if (rounding == "stochastic") {
    expect_stochastic(v);
  } else {
    expect(rounding == "nearest", "rounding must be nearest or stochastic, not {}", rounding);
    expect(!v.has_input(kSeed) && !v.has_input(kStep), "rounding to nearest takes no seed and no step");
  }
  return {v.in(kX)};
}

// Stochastic rounding draws 10 rounds of Philox, about 8 operations each, for eight elements.
Cost cost(const OpView& v) {
  const double each = v.text("rounding") == "stochastic" ? 11.0 : 1.0;
  return {.flops = each * static_cast<double>(v.input(kX).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

BufferId cast(Builder& b, const Into& y, BufferId x, const std::string& rounding, BufferId seed, BufferId step) {
  return b.call("cast", {x, seed, step}, {y}, {{"rounding", rounding}})[0];
}

OpDef cast_def() {
  return {.kind = "cast",
          .inputs = {{"x", Type::gradient}, {"seed", Type::i64, Slot::optional}, {"step", Type::i64, Slot::optional}},
          .outputs = {{"y", Type::gradient}},
          .attributes = {{"rounding", AttributeSpec::text}},
          .shapes = shapes,
          .cost = cost,
          .cpu = cast_cpu};
}

}  // namespace centavo
