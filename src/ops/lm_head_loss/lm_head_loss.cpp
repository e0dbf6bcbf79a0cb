#include "ops/lm_head_loss/lm_head_loss.h"

#include <limits>

#include "program/gradients.h"

namespace centavo {
namespace {

enum In : size_t { kH, kWeight, kTargets };
enum Out : size_t { kLoss, kCount, kDh, kDweight };

// Both ops: the forward has the first two outputs only.
std::vector<Shape> shapes(const OpView& v) {
  const Shape& h = v.in(kH);
  const Shape& weight = v.in(kWeight);
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  expect(h.size() == 2 && h[0] >= 1 && h[0] <= kMost && h[1] >= 1, "h must be [N, C], not {}", to_string(h));
  expect(weight.size() == 2 && weight[0] >= 1 && weight[0] <= kMost && weight[1] == h[1],
         "weight must be [V, {}], not {}", h[1], to_string(weight));
  expect(v.in(kTargets) == Shape{h[0]}, "targets must be [{}], not {}", h[0], to_string(v.in(kTargets)));
  expect(v.whole("chunk") >= 1, "chunk must be 1 token or more, not {}", v.whole("chunk"));
  return {{1}, {1}, h, weight};
}

void gradient(Gradients& g, const Op& op) {
  const BufferId h = op.inputs[kH];
  const BufferId weight = op.inputs[kWeight];
  g.emit("lm_head_loss_grad", op.inputs, {op.outputs[kLoss], op.outputs[kCount], g.into(h), g.into(weight)},
         op.attributes);
}

double product_flops(const OpView& v) {
  return 2.0 * static_cast<double>(v.input(kH).elements()) * static_cast<double>(v.in(kWeight)[0]);
}

double logit_count(const OpView& v) { return static_cast<double>(v.in(kH)[0]) * static_cast<double>(v.in(kWeight)[0]); }

// A logit costs a maximum, a subtraction, an exponential and a sum; its gradient one more product.
Cost cost(const OpView& v) { return {.flops = product_flops(v) + 4.0 * logit_count(v), .bytes = operand_bytes(v)}; }

Cost grad_cost(const OpView& v) {
  const int products = 1 + (v.has_output(kDh) ? 1 : 0) + (v.has_output(kDweight) ? 1 : 0);
  return {.flops = products * product_flops(v) + 5.0 * logit_count(v), .bytes = operand_bytes(v)};
}

}  // namespace

LmHeadLoss lm_head_loss(Builder& b, BufferId h, BufferId weight, BufferId targets, int64_t chunk, const Into& loss,
                        const Into& count) {
  const auto out = b.call("lm_head_loss", {h, weight, targets}, {loss, count}, {{"chunk", chunk}});
  return {out[kLoss], out[kCount]};
}

OpDef lm_head_loss_def() {
  return {.kind = "lm_head_loss",
          .inputs = {{"h"}, {"weight"}, {"targets", Type::i32}},
          .outputs = {{"loss", Type::statistic, Slot::required, Slot::can_add},
                      {"count", Type::i32, Slot::required, Slot::can_add}},
          .attributes = {{"chunk", AttributeSpec::whole}},
          .shapes = shapes,
          .gradient = gradient,
          .backward_replaces_forward = true,
          .cost = cost,
          .cpu_workspace_bytes = lm_head_loss_cpu_workspace,
          .cpu = lm_head_loss_cpu};
}

OpDef lm_head_loss_grad_def() {
  return {.kind = "lm_head_loss_grad",
          .inputs = {{"h"}, {"weight"}, {"targets", Type::i32}},
          .outputs = {{"loss", Type::statistic, Slot::required, Slot::can_add},
                      {"count", Type::i32, Slot::required, Slot::can_add},
                      {"dh", Type::compute, Slot::optional},
                      {"dweight", Type::gradient, Slot::optional, Slot::can_add}},
          .attributes = {{"chunk", AttributeSpec::whole}},
          .shapes = shapes,
          .cost = grad_cost,
          .cpu_workspace_bytes = lm_head_loss_cpu_workspace,
          .cpu = lm_head_loss_cpu};
}

}  // namespace centavo
