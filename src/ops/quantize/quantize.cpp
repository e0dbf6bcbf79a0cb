#include "ops/quantize/quantize.h"

namespace centavo {
namespace {

std::vector<Shape> amax_shapes(const OpView&) { return {{1}}; }

std::vector<Shape> quantize_shapes(const OpView& v) {
  const std::string& format = v.text("format");
  expect(format == "e4m3" || format == "e5m2", "format must be e4m3 or e5m2, not {}", format);
  expect(v.in(1) == Shape{1}, "amax must be [1], not {}", to_string(v.in(1)));
  const DType wanted = format == "e4m3" ? DType::f8e4m3 : DType::f8e5m2;
  expect(!v.has_output(0) || v.output(0).dtype == wanted, "format {} needs an output of {}", format, name_of(wanted));
  return {v.in(0)};
}

Cost amax_cost(const OpView& v) {
  return {.flops = static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

Cost quantize_cost(const OpView& v) {
  return {.flops = 2.0 * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

BufferId amax(Builder& b, const Into& m, BufferId x) { return b.call("amax", {x}, {m})[0]; }

BufferId quantize(Builder& b, const Into& q, BufferId x, BufferId m, const std::string& format) {
  return b.call("quantize", {x, m}, {q}, {{"format", format}})[0];
}

OpDef amax_def() {
  return {.kind = "amax",
          .inputs = {{"x"}},
          .outputs = {{"m", Type::f32}},
          .attributes = {},
          .shapes = amax_shapes,
          .cost = amax_cost,
          .cpu = amax_cpu};
}

OpDef quantize_def() {
  return {.kind = "quantize",
          .inputs = {{"x"}, {"m", Type::f32}},
          .outputs = {{"q", Type::fp8}},
          .attributes = {{"format", AttributeSpec::text}},
          .shapes = quantize_shapes,
          .cost = quantize_cost,
          .cpu = quantize_cpu};
}

}  // namespace centavo
