#include "ops/layernorm/layernorm.h"

#include "program/gradients.h"

namespace centavo {
namespace {

enum In : size_t { kX, kDelta, kWeight, kBias };
enum Out : size_t { kH, kMean, kRstd, kSum };

std::vector<Shape> shapes(const OpView& v) {
  const Shape& x = v.in(kX);
  expect(x.size() == 2, "x must be [N, C], not {}", to_string(x));
  expect(v.in(kWeight) == Shape{x[1]}, "weight must be [{}], not {}", x[1], to_string(v.in(kWeight)));
  expect(v.in(kBias) == Shape{x[1]}, "bias must be [{}], not {}", x[1], to_string(v.in(kBias)));
  if (v.has_input(kDelta)) {
    expect(v.in(kDelta) == x, "delta must be {} like x, not {}", to_string(x), to_string(v.in(kDelta)));
  }
  expect(v.has_input(kDelta) || !v.has_output(kSum), "there is a sum only with a delta");
  return {x, {x[0]}, {x[0]}, x};
}

std::vector<Shape> grad_shapes(const OpView& v) {
  const Shape& dh = v.in(0);
  expect(dh.size() == 2, "dh must be [N, C], not {}", to_string(dh));
  expect(!v.has_input(1) || v.in(1) == dh, "dsum must be {} like dh", to_string(dh));
  expect(v.in(2) == dh, "sum must be {} like dh, not {}", to_string(dh), to_string(v.in(2)));
  expect(v.in(3) == Shape{dh[1]}, "weight must be [{}], not {}", dh[1], to_string(v.in(3)));
  expect(v.in(4) == Shape{dh[0]}, "mean must be [{}], not {}", dh[0], to_string(v.in(4)));
  expect(v.in(5) == Shape{dh[0]}, "rstd must be [{}], not {}", dh[0], to_string(v.in(5)));
  return {dh, {dh[1]}, {dh[1]}};
}

void gradient(Gradients& g, const Op& op) {
  const BufferId x = op.inputs[kX];
  const BufferId delta = op.inputs[kDelta];
  const BufferId sum = delta == kNone ? x : op.outputs[kSum].buffer;
  const Output total = g.fresh(sum);
  g.emit("layernorm_grad",
         {g.of(op.outputs[kH].buffer), g.of(sum), sum, op.inputs[kWeight], op.outputs[kMean].buffer,
          op.outputs[kRstd].buffer},
         {total, g.into(op.inputs[kWeight]), g.into(op.inputs[kBias])});
  if (delta == kNone) {
    g.replace(x, total.buffer);
  } else {
    g.contribute(x, total.buffer);
    g.contribute(delta, total.buffer);
  }
}

Cost cost(const OpView& v) {
  return {.flops = 8.0 * static_cast<double>(v.input(kX).elements()), .bytes = operand_bytes(v)};
}

Cost grad_cost(const OpView& v) {
  return {.flops = 16.0 * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

// h, mean, rstd = layernorm(sum, _, weight, bias)
std::optional<Op> short_replay(const Op& original) {
  if (original.outputs.size() <= kSum || original.outputs[kSum].buffer == kNone) return std::nullopt;
  Op op = original;
  op.inputs[kX] = original.outputs[kSum].buffer;
  op.inputs[kDelta] = kNone;
  op.outputs.resize(kSum);
  return op;
}

}  // namespace

LayerNormed layernorm(Builder& b, const std::string& name, BufferId x, BufferId delta, BufferId weight, BufferId bias,
                      double eps) {
  const Into sum = delta == kNone ? Into() : Into(name + ".sum");
  const auto out =
      b.call("layernorm", {x, delta, weight, bias}, {name, name + ".mean", name + ".rstd", sum}, {{"eps", eps}});
  return {out[kH], delta == kNone ? x : out[kSum]};
}

OpDef layernorm_def() {
  return {
      .kind = "layernorm",
      .inputs = {{"x"}, {"delta", Type::compute, Slot::optional}, {"weight"}, {"bias"}},
      .outputs = {{"h"}, {"mean", Type::statistic}, {"rstd", Type::statistic}, {"sum", Type::compute, Slot::optional}},
      .attributes = {{"eps", AttributeSpec::real}},
      .shapes = shapes,
      .gradient = gradient,
      .short_replay = short_replay,
      .cost = cost,
      .cpu = layernorm_cpu};
}

OpDef layernorm_grad_def() {
  return {.kind = "layernorm_grad",
          .inputs = {{"dh"},
                     {"dsum", Type::compute, Slot::optional},
                     {"sum"},
                     {"weight"},
                     {"mean", Type::statistic},
                     {"rstd", Type::statistic}},
          .outputs = {{"dx"},
                      {"dweight", Type::gradient, Slot::optional, Slot::can_add},
                      {"dbias", Type::gradient, Slot::optional, Slot::can_add}},
          .attributes = {},
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu_workspace_bytes = layernorm_grad_cpu_workspace,
          .cpu = layernorm_grad_cpu};
}

}  // namespace centavo
