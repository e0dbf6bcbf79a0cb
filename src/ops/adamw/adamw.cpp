#include "ops/adamw/adamw.h"

namespace centavo {
namespace {

enum In : size_t { kW, kG, kM, kV, kMaster, kScale, kFinite, kLr, kStep, kSeed };

void expect_like_w(const OpView& v, size_t i, std::string_view name) {
  expect(v.in(i) == v.in(kW), "{} must be {} like w, not {}", name, to_string(v.in(kW)), to_string(v.in(i)));
}

void expect_scalar(const OpView& v, size_t i, std::string_view name) {
  expect(v.in(i) == Shape{1}, "{} must be [1], not {}", name, to_string(v.in(i)));
}

void expect_in_place(const OpView& v, size_t output, size_t input, std::string_view name) {
  const BufferId from = v.has_input(input) ? v.op().inputs[input] : kNone;
  const BufferId to = v.has_output(output) ? v.op().outputs[output].buffer : kNone;
  expect(from == to, "adamw updates in place: output {0} must be the input buffer {0}", name);
}

void expect_rounding(const OpView& v) {
  const std::string& rounding = v.text("rounding");
  expect(rounding == "nearest" || rounding == "stochastic", "rounding must be nearest or stochastic, not {}", rounding);
  expect(rounding == "nearest" || v.has_input(kSeed), "stochastic rounding needs a seed");
}

std::vector<Shape> shapes(const OpView& v) {
  expect_like_w(v, kG, "g");
  expect_like_w(v, kM, "m");
  expect_like_w(v, kV, "v");
  if (v.has_input(kMaster)) {
    expect_like_w(v, kMaster, "master");
    expect(v.input(kW).dtype == DType::bf16, "a master is for bf16 weights, w is {}", name_of(v.input(kW).dtype));
  }
  expect_scalar(v, kScale, "scale");
  expect_scalar(v, kFinite, "finite");
  expect_scalar(v, kLr, "lr");
  expect_scalar(v, kStep, "step");
  if (v.has_input(kSeed)) expect_scalar(v, kSeed, "seed");
  expect_rounding(v);
  expect_in_place(v, 0, kW, "w");
  expect_in_place(v, 1, kM, "m");
  expect_in_place(v, 2, kV, "v");
  expect_in_place(v, 3, kMaster, "master");
  const Shape& w = v.in(kW);
  return {w, w, w, w};
}

Cost cost(const OpView& v) {
  return {.flops = 15.0 * static_cast<double>(v.input(kW).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

std::map<std::string, Attribute> adamw_attributes(const AdamWSettings& s) {
  return {{"beta1", s.beta1},
          {"beta2", s.beta2},
          {"eps", s.eps},
          {"weight_decay", s.weight_decay},
          {"rounding", s.rounding}};
}

void adamw(Builder& b, const AdamWOperands& o, const AdamWSettings& settings) {
  std::vector<BufferId> inputs = {o.w, o.g, o.m, o.v, o.master, o.scale, o.finite, o.lr, o.step};
  if (o.seed != kNone) inputs.push_back(o.seed);
  b.call("adamw", std::move(inputs), {o.w, o.m, o.v, o.master}, adamw_attributes(settings));
}

OpDef adamw_def() {
  return {.kind = "adamw",
          .inputs = {{"w", Type::gradient},
                     {"g", Type::gradient},
                     {"m", Type::gradient},
                     {"v", Type::gradient},
                     {"master", Type::f32, Slot::optional},
                     {"scale", Type::f32},
                     {"finite", Type::i32},
                     {"lr", Type::f32},
                     {"step", Type::i64},
                     {"seed", Type::i64, Slot::optional}},
          .outputs = {{"w", Type::gradient, Slot::required, Slot::writes_only, Slot::in_place},
                      {"m", Type::gradient, Slot::required, Slot::writes_only, Slot::in_place},
                      {"v", Type::gradient, Slot::required, Slot::writes_only, Slot::in_place},
                      {"master", Type::f32, Slot::optional, Slot::writes_only, Slot::in_place}},
          .attributes = {{"beta1", AttributeSpec::real},
                         {"beta2", AttributeSpec::real},
                         {"eps", AttributeSpec::real},
                         {"weight_decay", AttributeSpec::real},
                         {"rounding", AttributeSpec::text}},
          .shapes = shapes,
          .cost = cost,
          .cpu = adamw_cpu};
}

}  // namespace centavo
