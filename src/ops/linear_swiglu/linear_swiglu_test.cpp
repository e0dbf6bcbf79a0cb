#include "ops/linear_swiglu/linear_swiglu.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/linear/linear.h"
#include "ops/swiglu/swiglu.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

struct Size {
  int64_t n, k, f;
};

const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {{1, 1, 1}, {7, 31, 5}, {3, 33, 32}, {33, 32, 31}, {5, 127, 127}, {2, 4096, 9}};
  return all;
}

// The op, and the two that it stands for.
Forward both_ways(Size s) {
  return [=](Builder& b) {
    const BufferId h = b.parameter("h", {s.n, s.k});
    const BufferId weight = b.parameter("weight", {2 * s.f, s.k});
    b.call("linear_swiglu", {h, weight}, {"gate_up", "s"});
    swiglu(b, "s.apart", linear(b, "gate_up.apart", h, weight));
  };
}

TEST(LinearSwiGlu, ByHand) {
  const double x = std::log(3.0);  // sigma(x) = 3/4
  const Tensors in = {{"h", {1, 2}}, {"weight", {x, 0, 0, 0, 1, 1, 5, 0}}};
  const Tensors out = run_step(build(both_ways({1, 2, 2}), DType::f64), in);
  const double u = unit_roundoff(DType::f64);
  expect_near(out.at("gate_up"), {x, 0, 3, 5}, 8 * u, "gate_up");
  expect_near(out.at("s"), {2.25 * x, 0}, 20 * u, "s");
}

TEST(LinearSwiGlu, TheBitsOfTheTwoOps) {
  for (const Size& size : sizes()) {
    const Tensors in = random_inputs(build(both_ways(size)));
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      SCOPED_TRACE(fmt::format("{} {} {} {}", name_of(dtype), size.n, size.k, size.f));
      const Tensors out = run_step(build(both_ways(size), dtype), in);
      EXPECT_EQ(out.at("gate_up"), out.at("gate_up.apart"));
      EXPECT_EQ(out.at("s"), out.at("s.apart"));
    }
  }
}

TEST(LinearSwiGlu, Repeatable) {
  expect_repeatable(both_ways({65, 40, 33}), random_inputs(build(both_ways({65, 40, 33}))), DType::bf16, {2});
}

TEST(LinearSwiGlu, CostsBothOpsAndReadsGateUpOnce) {
  const Program p = build(both_ways({7, 5, 3}), DType::bf16);
  const auto cost_of = [&](size_t i) {
    const Op& op = p.sections[0].ops[i];
    return test_ops().at(op.kind).cost(OpView(p, op));
  };
  EXPECT_EQ(cost_of(0).flops, cost_of(1).flops + cost_of(2).flops);
  EXPECT_EQ(cost_of(0).bytes, cost_of(1).bytes + cost_of(2).bytes - 7 * 6 * 2);
}

TEST(LinearSwiGlu, IsMadeOfAPairAndTakenApart) {
  const Program p = build(both_ways({7, 5, 3}));
  const Op& both = p.sections[0].ops[0];
  const Op& linear = p.sections[0].ops[1];
  const Op& swiglu = p.sections[0].ops[2];
  Op made = both;
  made.id = made.logical = linear.id;
  made.outputs = {linear.outputs[0], swiglu.outputs[0]};
  EXPECT_EQ(linear_swiglu_of(linear, swiglu), made);
  EXPECT_EQ(apart(made).linear, linear);
  Op second = swiglu;
  second.id = second.logical = linear.id;
  EXPECT_EQ(apart(made).swiglu, second);
  EXPECT_EQ(test_ops().at("linear_swiglu").short_replay(made), second);
}

TEST(LinearSwiGlu, IsNotMadeOfOtherPairs) {
  const Program p = build(both_ways({7, 5, 3}));
  const Op linear = p.sections[0].ops[1];
  const Op swiglu = p.sections[0].ops[2];
  const auto refused = [&](auto change_linear, auto change_swiglu) {
    Op first = linear, second = swiglu;
    change_linear(first);
    change_swiglu(second);
    return linear_swiglu_of(first, second) == std::nullopt;
  };
  const auto same = [](Op&) {};
  EXPECT_TRUE(refused([](Op& op) { op.attributes["scale"] = 0.5; }, same));
  EXPECT_TRUE(refused([](Op& op) { op.outputs[0].bind = Bind::add; }, same));
  EXPECT_TRUE(refused([](Op& op) { op.inputs.push_back(op.inputs[1]); }, same)) << "a bias";
  EXPECT_TRUE(refused([](Op& op) { op.kind = "linear_dx"; }, same));
  EXPECT_TRUE(refused(same, [](Op& op) { op.kind = "gelu"; }));
  EXPECT_TRUE(refused(same, [&](Op& op) { op.inputs[0] = linear.inputs[0]; }));
  EXPECT_TRUE(refused(same, [](Op& op) { op.layer = 3; }));
  EXPECT_TRUE(refused(same, [](Op& op) { op.stage = Stage::backward; }));
  EXPECT_TRUE(refused(same, [](Op& op) { op.lane = Lane::copy; }));
  EXPECT_FALSE(refused(same, same));
}

TEST(LinearSwiGlu, RejectsShapes) {
  const auto called = [](const Shape& h, const Shape& weight) {
    return [=](Builder& b) {
      b.call("linear_swiglu", {b.parameter("h", h), b.parameter("weight", weight)}, {"gate_up", "s"});
    };
  };
  expect_shape_error(called({2, 3}, {5, 3}), "weight must be [2F, 3], not [5, 3]");
  expect_shape_error(called({2, 3}, {4, 5}), "weight must be [M, 3] to fit x [2, 3], not [4, 5]");
}

}  // namespace
}  // namespace centavo::testing
