#include "ops/linear/linear.h"

#include "program/gradients.h"

namespace centavo {
namespace {

enum In : size_t { kX, kWeight, kBias, kXAmax, kWeightAmax };

// An 8-bit operand has an amax, any other has none.
void expect_amax(const OpView& v, size_t operand, size_t amax, std::string_view name) {
  const bool quantised = size_of(v.input(operand).dtype) == 1;
  expect(quantised == v.has_input(amax), "{} is {}, so it must have {} amax", name, name_of(v.input(operand).dtype),
         quantised ? "an" : "no");
  expect(!quantised || v.in(amax) == Shape{1}, "the amax of {} must be [1]", name);
}

void expect_matrix(const OpView& v, size_t i, std::string_view name) {
  expect(v.in(i).size() == 2, "{} must be a matrix, not {}", name, to_string(v.in(i)));
}

std::vector<Shape> shapes(const OpView& v) {
  expect_matrix(v, kX, "x");
  expect_matrix(v, kWeight, "weight");
  const int64_t outputs = v.in(kWeight)[0];
  expect(v.in(kWeight)[1] == v.in(kX)[1], "weight must be [M, {}] to fit x {}, not {}", v.in(kX)[1],
         to_string(v.in(kX)), to_string(v.in(kWeight)));
  expect(!v.has_input(kBias) || v.in(kBias) == Shape{outputs}, "bias must be [{}]", outputs);
  expect_amax(v, kX, kXAmax, "x");
  expect_amax(v, kWeight, kWeightAmax, "weight");
  return {{v.in(kX)[0], outputs}};
}

std::vector<Shape> dx_shapes(const OpView& v) {
  expect_matrix(v, 0, "dy");
  expect_matrix(v, 1, "weight");
  expect(v.in(1)[0] == v.in(0)[1], "weight must be [{}, K] to fit dy {}, not {}", v.in(0)[1], to_string(v.in(0)),
         to_string(v.in(1)));
  expect_amax(v, 0, 2, "dy");
  expect_amax(v, 1, 3, "weight");
  return {{v.in(0)[0], v.in(1)[1]}};
}

std::vector<Shape> dw_shapes(const OpView& v) {
  expect_matrix(v, 0, "dy");
  expect_matrix(v, 1, "x");
  expect(v.in(1)[0] == v.in(0)[0], "x must be [{}, K] to fit dy {}, not {}", v.in(0)[0], to_string(v.in(0)),
         to_string(v.in(1)));
  expect_amax(v, 0, 2, "dy");
  expect_amax(v, 1, 3, "x");
  return {{v.in(0)[1], v.in(1)[1]}};
}

std::vector<Shape> db_shapes(const OpView& v) {
  expect_matrix(v, 0, "dy");
  return {{v.in(0)[1]}};
}

void gradient(Gradients& g, const Op& op) {
  const BufferId x = op.inputs[kX];
  const BufferId weight = op.inputs[kWeight];
  const BufferId bias = op.inputs.size() > kBias ? op.inputs[kBias] : kNone;
  const BufferId dy = g.of(op.outputs[0].buffer);
  if (g.wanted(x)) g.emit("linear_dx", {dy, weight}, {g.into(x)}, op.attributes);
  if (g.wanted(weight)) g.emit("linear_dw", {dy, x}, {g.into(weight)}, op.attributes);
  if (bias != kNone && g.wanted(bias)) g.emit("linear_db", {dy}, {g.into(bias)});
}

// Of all three products: N, K and M each stand in two of the operands.
Cost cost(const OpView& v) {
  const double all = static_cast<double>(v.input(0).elements()) * static_cast<double>(v.input(1).elements());
  const double shared = static_cast<double>(v.op().kind == "linear_dw" ? v.in(0)[0]
                                            : v.op().kind == "linear"  ? v.in(0)[1]
                                                                       : v.in(1)[0]);
  return {.flops = 2.0 * all / shared, .bytes = operand_bytes(v)};
}

Cost db_cost(const OpView& v) {
  return {.flops = static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

constexpr Slot operand(std::string_view name) { return {name, Type::product}; }
constexpr Slot amax(std::string_view name) { return {name, Type::f32, Slot::optional}; }

}  // namespace

BufferId linear(Builder& b, const Into& y, BufferId x, BufferId weight, BufferId bias, double scale) {
  return b.call("linear", {x, weight, bias}, {y}, {{"scale", scale}})[0];
}

OpDef linear_def() {
  return {.kind = "linear",
          .inputs = {operand("x"),
                     operand("weight"),
                     {"bias", Type::compute, Slot::optional},
                     amax("x_amax"),
                     amax("weight_amax")},
          .outputs = {{"y", Type::compute, Slot::required, Slot::can_add}},
          .attributes = {{"scale", AttributeSpec::real}},
          .shapes = shapes,
          .gradient = gradient,
          .cost = cost,
          .cpu_workspace_bytes = linear_cpu_workspace_bytes,
          .cpu = linear_cpu};
}

OpDef linear_dx_def() {
  return {.kind = "linear_dx",
          .inputs = {operand("dy"), operand("weight"), amax("dy_amax"), amax("weight_amax")},
          .outputs = {{"dx", Type::compute, Slot::required, Slot::can_add}},
          .attributes = {{"scale", AttributeSpec::real}},
          .shapes = dx_shapes,
          .cost = cost,
          .cpu_workspace_bytes = linear_dx_cpu_workspace_bytes,
          .cpu = linear_dx_cpu};
}

OpDef linear_dw_def() {
  return {.kind = "linear_dw",
          .inputs = {operand("dy"), operand("x"), amax("dy_amax"), amax("x_amax")},
          .outputs = {{"dweight", Type::gradient, Slot::required, Slot::can_add}},
          .attributes = {{"scale", AttributeSpec::real}},
          .shapes = dw_shapes,
          .cost = cost,
          .cpu_workspace_bytes = linear_dw_cpu_workspace_bytes,
          .cpu = linear_dw_cpu};
}

OpDef linear_db_def() {
  return {.kind = "linear_db",
          .inputs = {{"dy"}},
          .outputs = {{"dbias", Type::gradient, Slot::required, Slot::can_add}},
          .attributes = {},
          .shapes = db_shapes,
          .cost = db_cost,
          .cpu = linear_db_cpu};
}

}  // namespace centavo
