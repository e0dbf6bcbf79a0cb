#include "ops/linear_swiglu/linear_dx_swiglu_grad.h"

#include "ops/linear/linear.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {
namespace {

enum In : size_t { kDy, kWeight, kGateUp };
enum Out : size_t { kDGateUp, kS };

std::vector<Shape> shapes(const OpView& v) {
  const LinearDxThenSwiGluGrad ops = grads_apart(v.op());
  const Shape ds = linear_dx_def().shapes(OpView(v.program(), ops.linear_dx))[0];
  const Shape gate_up = {ds[0], 2 * ds[1]};
  expect(v.in(kGateUp) == gate_up, "gate_up must be {}, not {}", to_string(gate_up), to_string(v.in(kGateUp)));
  return {gate_up, ds};
}

// ds is neither written nor read.
Cost cost(const OpView& v) {
  const LinearDxThenSwiGluGrad ops = grads_apart(v.op());
  const auto flops = [&](const OpDef& def, const Op& op) { return def.cost(OpView(v.program(), op)).flops; };
  return {.flops = flops(linear_dx_def(), ops.linear_dx) + flops(swiglu_grad_def(), ops.swiglu_grad),
          .bytes = operand_bytes(v)};
}

bool plain(const Op& linear_dx) {
  return linear_dx.kind == "linear_dx" && linear_dx.inputs.size() == 2 && linear_dx.outputs[0].bind == Bind::write &&
         std::get<double>(linear_dx.attributes.at("scale")) == 1.0;
}

}  // namespace

OpDef linear_dx_swiglu_grad_def() {
  return {.kind = "linear_dx_swiglu_grad",
          .inputs = {{"dy", Type::product}, {"weight", Type::product}, {"gate_up"}},
          .outputs = {{"dgate_up"}, {"s", Type::compute, Slot::optional}},
          .attributes = {},
          .shapes = shapes,
          .cost = cost,
          .cpu_workspace_bytes = linear_dx_swiglu_grad_cpu_workspace_bytes,
          .cpu = linear_dx_swiglu_grad_cpu};
}

std::optional<Op> linear_dx_swiglu_grad_of(const Op& linear_dx, const Op& swiglu_grad) {
  if (!plain(linear_dx) || swiglu_grad.kind != "swiglu_grad") return std::nullopt;
  if (swiglu_grad.inputs[0] != linear_dx.outputs[0].buffer) return std::nullopt;
  const auto place = [](const Op& op) { return std::tuple(op.stage, op.lane, op.layer); };
  if (place(linear_dx) != place(swiglu_grad)) return std::nullopt;
  Op both = swiglu_grad;
  both.kind = "linear_dx_swiglu_grad";
  both.inputs = {linear_dx.inputs[0], linear_dx.inputs[1], swiglu_grad.inputs[1]};
  return both;
}

LinearDxThenSwiGluGrad grads_apart(const Op& both) {
  const bool with_s = both.outputs.size() > kS && both.outputs[kS].buffer != kNone;
  const BufferId ds = both.outputs.at(with_s ? kS : kDGateUp).buffer;
  Op linear_dx = both;
  linear_dx.kind = "linear_dx";
  linear_dx.inputs = {both.inputs.at(kDy), both.inputs.at(kWeight)};
  linear_dx.outputs = {{ds}};
  linear_dx.attributes = {{"scale", 1.0}};
  Op swiglu_grad = both;
  swiglu_grad.kind = "swiglu_grad";
  swiglu_grad.inputs = {ds, both.inputs.at(kGateUp)};
  swiglu_grad.workspace = kNone;
  return {std::move(linear_dx), std::move(swiglu_grad)};
}

ApartMemory::ApartMemory(const OpView& v, int64_t scratch_bytes)
    : ds_bytes_(v.has_output(kS) ? 0 : align_up(v.output(kDGateUp).slot_bytes() / 2)),
      scratch_bytes_(v.output(kDGateUp).view || v.output(kDGateUp).slot_bytes() < scratch_bytes ? scratch_bytes : 0) {}

void* ApartMemory::ds(const OpCall& call) const { return ds_bytes_ == 0 ? call.outputs[kS] : call.workspace; }

void* ApartMemory::scratch(const OpCall& call) const {
  return scratch_bytes_ == 0 ? call.outputs[kDGateUp] : static_cast<char*>(call.workspace) + ds_bytes_;
}

}  // namespace centavo
