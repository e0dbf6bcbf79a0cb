#include "ops/rmsnorm/residual_norm.h"

namespace centavo {
namespace {

enum In : size_t { kX, kDelta, kWeight };
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

void expect_gradients(const OpView& v) {
  const Shape& dh = v.in(0);
  expect(dh.size() == 2, "dh must be [N, C], not {}", to_string(dh));
  expect(!v.has_input(1) || v.in(1) == dh, "dsum must be {} like dh", to_string(dh));
  expect(v.in(2) == dh, "sum must be {} like dh, not {}", to_string(dh), to_string(v.in(2)));
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

}  // namespace centavo
