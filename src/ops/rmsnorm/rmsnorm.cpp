#include "ops/rmsnorm/rmsnorm.h"

#include "program/gradients.h"

namespace centavo {
namespace {

enum In : size_t { kX, kDelta, kWeight };
enum Out : size_t { kH, kRstd, kSum };

std::vector<Shape> shapes(const OpView& v) {
  const Shape& x = v.in(kX);
  expect(x.size() == 2, "x must be [N, C], not {}", to_string(x));
  expect(v.in(kWeight) == Shape{x[1]}, "weight must be [{}], not {}", x[1], to_string(v.in(kWeight)));
  if (v.has_input(kDelta)) {
    expect(v.in(kDelta) == x, "delta must be {} like x, not {}", to_string(x), to_string(v.in(kDelta)));
  }
  expect(v.op().outputs.size() <= kSum || v.has_output(kSum) == v.has_input(kDelta) || !v.has_output(kSum),
         "there is a sum only with a delta");
  return {x, {x[0]}, x};
}

std::vector<Shape> grad_shapes(const OpView& v) {
  const Shape& dh = v.in(0);
  expect(dh.size() == 2, "dh must be [N, C], not {}", to_string(dh));
  expect(!v.has_input(1) || v.in(1) == dh, "dsum must be {} like dh", to_string(dh));
  expect(v.in(2) == dh, "sum must be {} like dh, not {}", to_string(dh), to_string(v.in(2)));
  expect(v.in(3) == Shape{dh[1]}, "weight must be [{}], not {}", dh[1], to_string(v.in(3)));
  expect(v.in(4) == Shape{dh[0]}, "rstd must be [{}], not {}", dh[0], to_string(v.in(4)));
  return {dh, {dh[1]}};
}

void gradient(Gradients& g, const Op& op) {
  const BufferId x = op.inputs[kX];
  const BufferId delta = op.inputs[kDelta];
  const BufferId sum = delta == kNone ? x : op.outputs[kSum].buffer;
  const Output total = g.fresh(sum);
  g.emit("rmsnorm_grad", {g.of(op.outputs[kH].buffer), g.of(sum), sum, op.inputs[kWeight], op.outputs[kRstd].buffer},
         {total, g.into(op.inputs[kWeight])});
  if (delta == kNone) {
    g.replace(x, total.buffer);
  } else {
    g.contribute(x, total.buffer);
    g.contribute(delta, total.buffer);
  }
}

Cost cost(const OpView& v) {
  return {.flops = 5.0 * static_cast<double>(v.input(kX).elements()), .bytes = operand_bytes(v)};
}

Cost grad_cost(const OpView& v) {
  return {.flops = 11.0 * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

// h, rstd = rmsnorm(sum, _, weight)
std::optional<Op> short_replay(const Op& original) {
  if (original.outputs.size() <= kSum || original.outputs[kSum].buffer == kNone) return std::nullopt;
  Op op = original;
  op.inputs[kX] = original.outputs[kSum].buffer;
  op.inputs[kDelta] = kNone;
  op.outputs.resize(kSum);
  return op;
}

}  // namespace

RmsNormed rmsnorm(Builder& b, const std::string& name, BufferId x, BufferId delta, BufferId weight, double eps) {
  const Into sum = delta == kNone ? Into() : Into(name + ".sum");
  const auto out = b.call("rmsnorm", {x, delta, weight}, {name, name + ".rstd", sum}, {{"eps", eps}});
  return {out[kH], delta == kNone ? x : out[kSum]};
}

OpDef rmsnorm_def() {
  return {.kind = "rmsnorm",
          .inputs = {{"x"}, {"delta", Type::compute, Slot::optional}, {"weight"}},
          .outputs = {{"h"}, {"rstd", Type::statistic}, {"sum", Type::compute, Slot::optional}},
          .attributes = {{"eps", AttributeSpec::real}},
          .shapes = shapes,
          .gradient = gradient,
          .short_replay = short_replay,
          .cost = cost,
          .cpu = rmsnorm_cpu};
}

OpDef rmsnorm_grad_def() {
  return {.kind = "rmsnorm_grad",
          .inputs = {{"dh"}, {"dsum", Type::compute, Slot::optional}, {"sum"}, {"weight"}, {"rstd", Type::statistic}},
          .outputs = {{"dx"}, {"dweight", Type::gradient, Slot::optional, Slot::can_add}},
          .attributes = {},
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu_workspace_bytes = rmsnorm_grad_cpu_workspace,
          .cpu = rmsnorm_grad_cpu};
}

}  // namespace centavo
