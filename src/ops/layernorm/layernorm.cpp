#include "ops/layernorm/layernorm.h"

#include "ops/rmsnorm/residual_norm.h"

namespace centavo {
namespace {

enum In : size_t { kX, kDelta, kWeight, kBias };
enum Out : size_t { kH, kMean, kRstd, kSum };
enum GradIn : size_t { kGradBias = 6 };
enum GradOut : size_t { kDx, kDweight, kDbias, kGradH };

constexpr size_t kStatistics = 2;  // mean, rstd

std::vector<Shape> shapes(const OpView& v) {
  expect_addition(v, kStatistics);
  const Shape& x = v.in(kX);
  expect(v.in(kWeight) == Shape{x[1]}, "weight must be [{}], not {}", x[1], to_string(v.in(kWeight)));
  expect(v.in(kBias) == Shape{x[1]}, "bias must be [{}], not {}", x[1], to_string(v.in(kBias)));
  return {x, {x[0]}, {x[0]}, x};
}

std::vector<Shape> grad_shapes(const OpView& v) {
  expect_gradients(v, kGradH);
  const Shape& dh = v.in(0);
  expect(v.in(3) == Shape{dh[1]}, "weight must be [{}], not {}", dh[1], to_string(v.in(3)));
  expect(v.in(4) == Shape{dh[0]}, "mean must be [{}], not {}", dh[0], to_string(v.in(4)));
  expect(v.in(5) == Shape{dh[0]}, "rstd must be [{}], not {}", dh[0], to_string(v.in(5)));
  expect(v.has_input(kGradBias) || !v.has_output(kGradH), "h needs the bias");
  if (v.has_input(kGradBias)) {
    expect(v.in(kGradBias) == Shape{dh[1]}, "bias must be [{}], not {}", dh[1], to_string(v.in(kGradBias)));
  }
  return {dh, {dh[1]}, {dh[1]}, dh};
}

void gradient(Gradients& g, const Op& op) { differentiate_norm(g, op, "layernorm_grad", kStatistics); }

std::optional<Op> short_replay(const Op& op) { return without_addition(op, kStatistics); }

Cost cost(const OpView& v) {
  return {.flops = 8.0 * static_cast<double>(v.input(kX).elements()), .bytes = operand_bytes(v)};
}

// h is a product and a sum more.
Cost grad_cost(const OpView& v) {
  const double each = v.has_output(kGradH) ? 18.0 : 16.0;
  return {.flops = each * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
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
      .inputs = {{"x"},
                 {"delta", Type::compute, Slot::optional},
                 {"weight", Type::statistic},
                 {"bias", Type::statistic}},
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
                     {"weight", Type::statistic},
                     {"mean", Type::statistic},
                     {"rstd", Type::statistic},
                     {"bias", Type::statistic, Slot::optional}},
          .outputs = {{"dx"},
                      {"dweight", Type::gradient, Slot::optional, Slot::can_add},
                      {"dbias", Type::gradient, Slot::optional, Slot::can_add},
                      {"h", Type::compute, Slot::optional, Slot::writes_only, Slot::own_part}},
          .attributes = {},
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu_workspace_bytes = layernorm_grad_cpu_workspace,
          .cpu = layernorm_grad_cpu};
}

std::optional<Op> layernorm_grad_with_h(const Op& grad, const Op& replay) {
  if (grad.kind != "layernorm_grad" || replay.kind != "layernorm") return std::nullopt;
  return with_normed(grad, replay, kStatistics);
}

}  // namespace centavo
