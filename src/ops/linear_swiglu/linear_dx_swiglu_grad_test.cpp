#include "ops/linear_swiglu/linear_dx_swiglu_grad.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/linear/linear.h"
#include "ops/swiglu/swiglu.h"
#include "tests/support/linear_dx_swiglu_grad_cases.h"
#include "tests/support/models.h"

namespace centavo::testing {
namespace {

using Size = GradSize;

const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {{1, 1, 1}, {7, 31, 5}, {3, 33, 32}, {33, 32, 31}, {5, 127, 127}, {2, 4096, 9}};
  return all;
}

TEST(LinearDxSwiGluGrad, ByHand) {
  const double x = std::log(3.0);  // sigma(x) = 3/4
  const Tensors in = {{"dy", {1, 2}}, {"weight", {1, 0, 0, 1}}, {"gate_up", {x, 0, 3, 5}}};
  const Tensors out = run_step(build(linear_dx_swiglu_grad_ways({1, 2, 2}), DType::f64), in);
  const double u = unit_roundoff(DType::f64);
  expect_near(out.at("dgate_up"), {2.25 * (1 + x / 4), 5, 0.75 * x, 0}, 40 * u, "dgate_up");
  expect_near(out.at("s"), {2.25 * x, 0}, 20 * u, "s");
}

TEST(LinearDxSwiGluGrad, TheBitsOfTheTwoOps) {
  for (const Size& size : sizes()) {
    const Tensors in = random_inputs(build(linear_dx_swiglu_grad_ways(size)));
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      SCOPED_TRACE(fmt::format("{} {}", name_of(dtype), text_of(size)));
      expect_bits_of_the_two_ops(run_step(build(linear_dx_swiglu_grad_ways(size), dtype), in));
    }
  }
}

TEST(LinearDxSwiGluGrad, Repeatable) {
  const Forward ways = linear_dx_swiglu_grad_ways({65, 40, 33});
  expect_repeatable(ways, random_inputs(build(ways)), DType::bf16, {2});
}

Op find(const Program& p, std::string_view kind, size_t outputs) {
  const std::vector<Op>& ops = p.sections[0].ops;
  return *std::ranges::find_if(ops, [&](const Op& op) { return op.kind == kind && op.outputs.size() == outputs; });
}

TEST(LinearDxSwiGluGrad, CostsBothOpsAndNeverMovesDs) {
  const Program p = build(linear_dx_swiglu_grad_ways({7, 5, 3}), DType::bf16);
  const auto cost_of = [&](std::string_view kind, size_t outputs) {
    const Op op = find(p, kind, outputs);
    return test_ops().at(kind).cost(OpView(p, op));
  };
  const Cost linear_dx = cost_of("linear_dx", 1);
  for (const size_t outputs : {1, 2}) {
    const Cost both = cost_of("linear_dx_swiglu_grad", outputs);
    const Cost swiglu_grad = cost_of("swiglu_grad", outputs);
    EXPECT_EQ(both.flops, linear_dx.flops + swiglu_grad.flops);
    EXPECT_EQ(both.bytes, linear_dx.bytes + swiglu_grad.bytes - 2 * 7 * 3 * 2);
  }
}

// With s there is room for ds; scratch lies in dgate_up where that is large enough.
TEST(LinearDxSwiGluGrad, NeedsAWorkspaceForDsAlone) {
  const Program p = build(linear_dx_swiglu_grad_ways({70, 5, 33}), DType::bf16);
  const auto bytes = [&](size_t outputs, int64_t scratch) {
    const Op op = find(p, "linear_dx_swiglu_grad", outputs);
    return ApartMemory(OpView(p, op), scratch).workspace_bytes();
  };
  const int64_t ds = align_up(70 * 33 * 2);
  const int64_t dgate_up = 70 * 66 * 2;
  EXPECT_EQ(bytes(2, dgate_up), 0);
  EXPECT_EQ(bytes(1, dgate_up), ds);
  EXPECT_EQ(bytes(2, dgate_up + 1), dgate_up + 1);
  EXPECT_EQ(bytes(1, dgate_up + 1), ds + dgate_up + 1);
}

TEST(LinearDxSwiGluGrad, IsMadeOfAPair) {
  const Program p = build(linear_dx_swiglu_grad_ways({7, 5, 3}));
  const Op linear_dx = find(p, "linear_dx", 1);
  for (const size_t outputs : {1, 2}) {
    Op grad = find(p, "swiglu_grad", outputs);
    grad.inputs[0] = linear_dx.outputs[0].buffer;
    Op expected = find(p, "linear_dx_swiglu_grad", outputs);
    expected.id = expected.logical = grad.id;
    expected.outputs = grad.outputs;
    EXPECT_EQ(linear_dx_swiglu_grad_of(linear_dx, grad), expected);
  }
}

TEST(LinearDxSwiGluGrad, IsNotMadeOfOtherPairs) {
  const Program p = build(linear_dx_swiglu_grad_ways({7, 5, 3}));
  const Op linear_dx = find(p, "linear_dx", 1);
  const Op grad = find(p, "swiglu_grad", 1);
  const auto refused = [&](auto change_first, auto change_second) {
    Op first = linear_dx, second = grad;
    second.inputs[0] = first.outputs[0].buffer;
    change_first(first);
    change_second(second);
    return linear_dx_swiglu_grad_of(first, second) == std::nullopt;
  };
  const auto same = [](Op&) {};
  EXPECT_TRUE(refused([](Op& op) { op.attributes["scale"] = 0.5; }, same));
  EXPECT_TRUE(refused([](Op& op) { op.outputs[0].bind = Bind::add; }, same));
  EXPECT_TRUE(refused([](Op& op) { op.inputs.push_back(op.inputs[1]); }, same)) << "an amax";
  EXPECT_TRUE(refused([](Op& op) { op.kind = "linear"; }, same));
  EXPECT_TRUE(refused(same, [](Op& op) { op.kind = "gelu_grad"; }));
  EXPECT_TRUE(refused(same, [](Op& op) { op.inputs[0] = op.inputs[1]; }));
  EXPECT_TRUE(refused(same, [](Op& op) { op.layer = 3; }));
  EXPECT_TRUE(refused(same, [](Op& op) { op.stage = Stage::backward; }));
  EXPECT_TRUE(refused(same, [](Op& op) { op.lane = Lane::copy; }));
  EXPECT_FALSE(refused(same, same));
}

TEST(LinearDxSwiGluGrad, RejectsShapes) {
  const auto called = [](const Shape& dy, const Shape& weight, const Shape& gate_up) {
    return [=](Builder& b) {
      b.call("linear_dx_swiglu_grad",
             {b.parameter("dy", dy), b.parameter("weight", weight), b.parameter("gate_up", gate_up)}, {"dgate_up"});
    };
  };
  expect_shape_error(called({2, 3}, {4, 5}, {2, 10}), "weight must be [3, K] to fit dy [2, 3], not [4, 5]");
  expect_shape_error(called({2, 3}, {3, 5}, {2, 5}), "gate_up must be [2, 10], not [2, 5]");
}

}  // namespace
}  // namespace centavo::testing
