#include "passes/precision.h"

#include "base/nearest.h"
#include "program/bound_as.h"

namespace centavo {
namespace {

void set_dtypes(Program& program, const OpTable& ops, const PrecisionPolicy& policy) {
  const auto compute = roots_bound_as(program, ops, {Type::compute, Type::product});
  const auto statistic = roots_bound_as(program, ops, {Type::statistic});
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    Buffer& b = program.buffers[i];
    const auto root = static_cast<size_t>(program.root(static_cast<BufferId>(i)));
    if (!is_float(b.dtype)) continue;
    if (b.kind == BufferKind::gradient) {
      b.dtype = policy.gradient;
    } else if (b.kind == BufferKind::optimizer_state) {
      b.dtype = policy.state;
    } else if (statistic[root]) {
      b.dtype = accumulator_of(policy.compute);
    } else if (compute[root]) {
      b.dtype = policy.compute;
    }
  }
}

// adamw(w, g, m, v, master?, …) -> w, m, v, master?
constexpr size_t kW = 0;
constexpr size_t kM = 2;
constexpr size_t kMasterInput = 4;
constexpr size_t kMasterOutput = 3;

void add_master(Program& program, Op& op) {
  const Buffer& weight = program.buffer(op.inputs.at(kW));
  const BufferId master = program.add({.name = weight.name + ".master",
                                       .dtype = DType::f32,
                                       .shape = weight.shape,
                                       .kind = BufferKind::optimizer_state,
                                       .persistent = true,
                                       .layout = program.buffer(op.inputs.at(kM)).layout});
  op.inputs.at(kMasterInput) = master;
  op.outputs.resize(kMasterOutput);
  op.outputs.push_back({master, Bind::write});
}

// … scale, finite, lr, step, seed?)
void round_stochastically(Program& program, Op& op) {
  BufferId seed = program.find("seed");
  if (seed == kNone) {
    seed = program.add(
        {.name = "seed", .dtype = DType::i64, .shape = {1}, .kind = BufferKind::control, .persistent = true});
  }
  op.inputs.push_back(seed);
  op.attributes["rounding"] = std::string("stochastic");
}

}  // namespace

PrecisionPolicy precision_policy(const std::string& name) {
  if (name == "fp32") return {};
  if (name == "bf16") return {.compute = DType::bf16, .master = true};
  if (name == "bf16-stochastic") {
    return {DType::bf16, DType::bf16, DType::bf16, false, true};
  }
  if (name == "fp64") return {DType::f64, DType::f64, DType::f64, false, false};
  user_error("precision '{}' is unknown; use fp32, bf16 or bf16-stochastic{}", name,
             did_you_mean(name, {"fp32", "bf16", "bf16-stochastic"}));
}

Program precision(Program program, const OpTable& ops, const PrecisionPolicy& policy) {
  set_dtypes(program, ops, policy);
  if (!policy.master && !policy.stochastic_rounding) return program;
  for (Section& section : program.sections) {
    for (Op& op : section.ops) {
      if (op.kind != "adamw") continue;
      const bool has_accumulator = program.buffer(op.inputs.at(kW)).dtype == accumulator_of(policy.compute);
      if (policy.master && !has_accumulator) add_master(program, op);
      if (policy.stochastic_rounding) round_stochastically(program, op);
    }
  }
  return program;
}

}  // namespace centavo
