#include "ops/linear_swiglu/linear_swiglu.h"

#include "ops/linear/linear.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {
namespace {

enum In : size_t { kH, kWeight };
enum Out : size_t { kGateUp, kS };

std::vector<Shape> shapes(const OpView& v) {
  const LinearThenSwiGlu ops = apart(v.op());
  const Shape gate_up = linear_def().shapes(OpView(v.program(), ops.linear))[0];
  expect(gate_up[1] % 2 == 0, "weight must be [2F, {}], not {}", v.in(kH)[1], to_string(v.in(kWeight)));
  return {gate_up, {gate_up[0], gate_up[1] / 2}};
}

// gate_up is written and not read again.
Cost cost(const OpView& v) {
  const LinearThenSwiGlu ops = apart(v.op());
  const auto flops = [&](const OpDef& def, const Op& op) { return def.cost(OpView(v.program(), op)).flops; };
  return {.flops = flops(linear_def(), ops.linear) + flops(swiglu_def(), ops.swiglu), .bytes = operand_bytes(v)};
}

std::optional<Op> short_replay(const Op& op) { return apart(op).swiglu; }

bool plain(const Op& linear) {
  return linear.kind == "linear" && linear.inputs.size() == 2 && linear.outputs[0].bind == Bind::write &&
         std::get<double>(linear.attributes.at("scale")) == 1.0;
}

}  // namespace

OpDef linear_swiglu_def() {
  return {.kind = "linear_swiglu",
          .inputs = {{"h", Type::product}, {"weight", Type::product}},
          .outputs = {{"gate_up"}, {"s"}},
          .attributes = {},
          .shapes = shapes,
          .short_replay = short_replay,
          .cost = cost,
          .cpu_workspace_bytes = linear_swiglu_cpu_workspace_bytes,
          .cpu = linear_swiglu_cpu};
}

std::optional<Op> linear_swiglu_of(const Op& linear, const Op& swiglu) {
  if (!plain(linear) || swiglu.kind != "swiglu" || swiglu.inputs[0] != linear.outputs[0].buffer) return std::nullopt;
  const auto place = [](const Op& op) { return std::tuple(op.stage, op.lane, op.layer); };
  if (place(linear) != place(swiglu)) return std::nullopt;
  Op both = linear;
  both.kind = "linear_swiglu";
  both.outputs.push_back(swiglu.outputs[0]);
  both.attributes.clear();
  return both;
}

LinearThenSwiGlu apart(const Op& both) {
  Op linear = both;
  linear.kind = "linear";
  linear.outputs = {both.outputs.at(kGateUp)};
  linear.attributes = {{"scale", 1.0}};
  Op swiglu = both;
  swiglu.kind = "swiglu";
  swiglu.inputs = {both.outputs.at(kGateUp).buffer};
  swiglu.outputs = {both.outputs.at(kS)};
  swiglu.workspace = kNone;
  return {std::move(linear), std::move(swiglu)};
}

}  // namespace centavo
