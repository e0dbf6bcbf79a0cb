#include "ops/rmsnorm/rmsnorm.h"

#include "ops/rmsnorm/residual_norm.h"

namespace centavo {
namespace {

enum In : size_t { kX, kDelta, kWeight };
enum Out : size_t { kH, kRstd, kSum };
enum GradOut : size_t { kDx, kDweight, kGradH };

constexpr size_t kStatistics = 1;  // rstd

std::vector<Shape> shapes(const OpView& v) {
  expect_addition(v, kStatistics);
  const Shape& x = v.in(kX);
  expect(v.in(kWeight) == Shape{x[1]}, "weight must be [{}], not {}", x[1], to_string(v.in(kWeight)));
  return {x, {x[0]}, x};
}

std::vector<Shape> grad_shapes(const OpView& v) {
  expect_gradients(v, kGradH);
  const Shape& dh = v.in(0);
  expect(v.in(3) == Shape{dh[1]}, "weight must be [{}], not {}", dh[1], to_string(v.in(3)));
  expect(v.in(4) == Shape{dh[0]}, "rstd must be [{}], not {}", dh[0], to_string(v.in(4)));
  return {dh, {dh[1]}, dh};
}

void gradient(Gradients& g, const Op& op) { differentiate_norm(g, op, "rmsnorm_grad", kStatistics); }

std::optional<Op> short_replay(const Op& op) { return without_addition(op, kStatistics); }

Cost cost(const OpView& v) {
  return {.flops = 5.0 * static_cast<double>(v.input(kX).elements()), .bytes = operand_bytes(v)};
}

// h is one product more.
Cost grad_cost(const OpView& v) {
  const double each = v.has_output(kGradH) ? 12.0 : 11.0;
  return {.flops = each * static_cast<double>(v.input(0).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

RmsNormed rmsnorm(Builder& b, const std::string& name, BufferId x, BufferId delta, BufferId weight, double eps) {
  const Into sum = delta == kNone ? Into() : Into(name + ".sum");
  const auto out = b.call("rmsnorm", {x, delta, weight}, {name, name + ".rstd", sum}, {{"eps", eps}});
  return {out[kH], delta == kNone ? x : out[kSum]};
}

OpDef rmsnorm_def() {
  return {.kind = "rmsnorm",
          .inputs = {{"x"}, {"delta", Type::compute, Slot::optional}, {"weight", Type::statistic}},
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
          .inputs = {{"dh"},
                     {"dsum", Type::compute, Slot::optional},
                     {"sum"},
                     {"weight", Type::statistic},
                     {"rstd", Type::statistic}},
          .outputs = {{"dx"},
                      {"dweight", Type::gradient, Slot::optional, Slot::can_add},
                      {"h", Type::compute, Slot::optional, Slot::writes_only, Slot::own_part}},
          .attributes = {},
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu_workspace_bytes = rmsnorm_grad_cpu_workspace,
          .cpu = rmsnorm_grad_cpu};
}

std::optional<Op> rmsnorm_grad_with_h(const Op& grad, const Op& replay) {
  if (grad.kind != "rmsnorm_grad" || replay.kind != "rmsnorm") return std::nullopt;
  return with_normed(grad, replay, kStatistics);
}

}  // namespace centavo
