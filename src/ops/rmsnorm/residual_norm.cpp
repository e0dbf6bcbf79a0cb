#include "ops/rmsnorm/residual_norm.h"

namespace centavo {
namespace {

enum In : size_t { kX, kDelta, kWeight };
enum GradIn : size_t { kDh, kDsum, kGradSum, kGradWeight, kGradStatistics };
constexpr size_t kH = 0;

size_t sum_of(size_t statistics) { return 1 + statistics; }

}  // namespace

void expect_addition(const OpView& v, size_t statistics) {
  const Shape& x = v.in(kX);
  expect(x.size() == 2, "x must be [N, C], not {}", to_string(x));
  if (v.has_input(kDelta)) {
    expect(v.in(kDelta) == x, "delta must be {} like x, not {}", to_string(x), to_string(v.in(kDelta)));
  }
  expect(v.has_input(kDelta) || !v.has_output(sum_of(statistics)), "there is a sum only with a delta");
}

void expect_gradients(const OpView& v, size_t h) {
  const Shape& dh = v.in(kDh);
  expect(dh.size() == 2, "dh must be [N, C], not {}", to_string(dh));
  expect(!v.has_input(kDsum) || v.in(kDsum) == dh, "dsum must be {} like dh", to_string(dh));
  expect(v.in(kGradSum) == dh, "sum must be {} like dh, not {}", to_string(dh), to_string(v.in(kGradSum)));
  if (!v.has_output(h)) return;
  const BufferId root = v.program().root(v.op().outputs[h].buffer);
  for (size_t i = kDsum; i < v.op().inputs.size(); ++i) {
    expect(!v.has_input(i) || v.program().root(v.op().inputs[i]) != root, "h must share memory with dh alone");
  }
}

void differentiate_norm(Gradients& g, const Op& norm, std::string_view norm_grad, size_t statistics) {
  const BufferId x = norm.inputs[kX];
  const BufferId delta = norm.inputs[kDelta];
  const BufferId sum = delta == kNone ? x : norm.outputs[sum_of(statistics)].buffer;
  const Output total = g.fresh(sum);
  std::vector<BufferId> inputs = {g.of(norm.outputs[kH].buffer), g.of(sum), sum, norm.inputs[kWeight]};
  for (size_t i = 1; i <= statistics; ++i) inputs.push_back(norm.outputs[i].buffer);
  std::vector<Output> outputs = {total};
  for (size_t i = kWeight; i < norm.inputs.size(); ++i) outputs.push_back(g.into(norm.inputs[i]));
  g.emit(norm_grad, std::move(inputs), std::move(outputs));
  if (delta == kNone) {
    g.replace(x, total.buffer);
  } else {
    g.contribute(x, total.buffer);
    g.contribute(delta, total.buffer);
  }
}

std::optional<Op> without_addition(const Op& norm, size_t statistics) {
  const size_t sum = sum_of(statistics);
  if (norm.outputs.size() <= sum || norm.outputs[sum].buffer == kNone) return std::nullopt;
  Op op = norm;
  op.inputs[kX] = norm.outputs[sum].buffer;
  op.inputs[kDelta] = kNone;
  op.outputs.resize(sum);
  return op;
}

std::optional<Op> with_normed(const Op& norm_grad, const Op& norm, size_t statistics) {
  const size_t parameters = norm.inputs.size() - kWeight;
  const size_t sum = sum_of(statistics);
  const bool adds = norm.inputs[kDelta] != kNone || (norm.outputs.size() > sum && norm.outputs[sum].buffer != kNone);
  const bool has_normed = norm_grad.outputs.size() > 1 + parameters;
  if (adds || has_normed || norm_grad.inputs[kGradSum] != norm.inputs[kX]) return std::nullopt;
  if (norm_grad.inputs[kGradWeight] != norm.inputs[kWeight]) return std::nullopt;
  for (size_t i = 0; i < statistics; ++i) {
    if (norm_grad.inputs[kGradStatistics + i] != norm.outputs[1 + i].buffer) return std::nullopt;
  }
  Op op = norm_grad;
  op.inputs.insert(op.inputs.end(), norm.inputs.begin() + kWeight + 1, norm.inputs.end());
  op.outputs.resize(1 + parameters, Output{kNone, Bind::write});
  op.outputs.push_back(norm.outputs[kH]);
  return op;
}

}  // namespace centavo
