#include "ops/swiglu/swiglu.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/models.h"
#include "tests/support/op_check.h"
#include "tests/support/swiglu_cases.h"

namespace centavo::testing {
namespace {

// gate_up is trainable so that its gradient is checked.
Forward plain(int64_t rows, int64_t columns) {
  return [=](Builder& b) { swiglu(b, "s", b.parameter("gate_up", {rows, 2 * columns})); };
}

// The backward op alone, its output an ordinary value.
Forward backward(int64_t rows, int64_t columns) {
  return [=](Builder& b) {
    const BufferId ds = b.parameter("ds", {rows, columns});
    b.call("swiglu_grad", {ds, b.parameter("gate_up", {rows, 2 * columns})}, {"dgate_up"});
  };
}

TEST(SwiGlu, ByHand) {
  // silu(0) = 0; sigma(ln 3) = 3/4; sigma(-ln 3) = 1/4
  const double x = std::log(3.0);
  const Tensors in = {{"gate_up", {0, x, -x, 5, 2, 2}}, {"ds", {1, 1, 4}}};
  const double u = unit_roundoff(DType::f64);
  expect_near(run_step(build(plain(1, 3), DType::f64), in).at("s"), {0, 1.5 * x, -0.5 * x}, 12 * u, "s");
  // dgate(0) = up / 2; elsewhere ds up sigma (1 + gate (1 - sigma)); dup = ds silu
  const std::vector<double> expected = {2.5, 1.5 * (1 + x / 4), 2 * (1 - 0.75 * x), 0, 0.75 * x, -x};
  expect_near(run_step(build(backward(1, 3), DType::f64), in).at("dgate_up"), expected, 54 * u, "dgate_up");
}

TEST(SwiGlu, FarGatesNeitherOverflowNorVanish) {
  const Tensors in = {{"gate_up", {-1e30, -200, -90, 90, 200, 1e30, 1, 1, 1, 1, 1, 1}}, {"ds", {1, 1, 1, 1, 1, 1}}};
  const std::vector<double> s = run_step(build(plain(1, 6)), in).at("s");
  const std::vector<double> d = run_step(build(backward(1, 6)), in).at("dgate_up");
  const float rounded = 1e30f;
  const std::vector<double> expected = {0, 0, -90 * std::exp(-90.0), 90, 200, rounded};
  for (size_t i = 0; i < expected.size(); ++i) {
    // silu(-90) is subnormal in f32: 90 places of 2^-149 more
    const double allowed = 12 * unit_roundoff(DType::f32) * std::fabs(expected[i]) + 90 * 0x1p-149;
    EXPECT_NEAR(s[i], expected[i], allowed) << i;
    EXPECT_NEAR(d[i], i < 3 ? 0.0 : 1.0, 1e-36) << i;
    EXPECT_NEAR(d[i + 6], expected[i], allowed) << i;
  }
}

TEST(SwiGlu, NanStays) {
  const Tensors in = {{"gate_up", {std::nan(""), 1, 1, std::nan("")}}};
  const Tensors out = run_step(build(plain(1, 2)), in);
  for (const double s : out.at("s")) EXPECT_TRUE(std::isnan(s));
}

TEST(SwiGlu, Gradients) {
  for (const int64_t columns : {1, 5, 33}) {
    expect_gradients(plain(3, columns), random_inputs(build(plain(3, columns)), 2.0), {"s"});
  }
}

TEST(SwiGlu, EveryDtypeAndAwkwardSize) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    const Tensors in = random_inputs(build(backward(7, columns)), 4.0);
    expect_close_to_f64(plain(7, columns), in, DType::f32, {"s"}, 12 * unit_roundoff(DType::f32));
    expect_close_to_f64(plain(7, columns), in, DType::bf16, {"s"}, 1.01 * unit_roundoff(DType::bf16));
  }
}

// The bound of dgate is relative to ds * up, which may exceed every dgate.
TEST(SwiGlu, BackwardOfEveryDtypeAndAwkwardSize) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    const Forward forward = backward(7, columns);
    const Tensors in = random_inputs(build(forward), 4.0);
    double factor = 0;
    for (size_t i = 0; i < in.at("ds").size(); ++i) {
      const size_t row = i / static_cast<size_t>(columns);
      const double up = in.at("gate_up")[i + (row + 1) * static_cast<size_t>(columns)];
      factor = std::max(factor, std::fabs(in.at("ds")[i] * up));
    }
    const Tensors exact = run_step(build(forward, DType::f64), in);
    double largest = 0;
    for (const double d : exact.at("dgate_up")) largest = std::max(largest, std::fabs(d));
    const double bound = 18 * unit_roundoff(DType::f32) * std::max(1.0, factor / largest);
    expect_close_to_f64(forward, in, DType::f32, {"dgate_up"}, bound);
    expect_close_to_f64(forward, in, DType::bf16, {"dgate_up"}, bound + 1.01 * unit_roundoff(DType::bf16));
  }
}

TEST(SwiGlu, BackwardGivesTheForwardsBitsAsWell) {
  for (const int64_t columns : {1, 6, 31, 32, 33, 127, 4096}) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      for (const Tensors& in : swiglu_grad_inputs(7, columns)) {
        SCOPED_TRACE(fmt::format("{} {}", name_of(dtype), columns));
        expect_same_swiglu_grads(run_step(build(swiglu_grad_three_times(7, columns), dtype), in));
      }
    }
  }
}

// One product and one store for each element of s.
TEST(SwiGlu, CostOfTheSecondOutput) {
  const Program p = build(swiglu_grad_three_times(7, 5), DType::bf16);
  const auto cost_of = [&](size_t op) { return test_ops().at("swiglu_grad").cost(OpView(p, p.sections[0].ops[op])); };
  EXPECT_EQ(cost_of(2).bytes - cost_of(1).bytes, 7 * 5 * 2);
  EXPECT_EQ(cost_of(2).flops - cost_of(1).flops, 7 * 5);
}

TEST(SwiGlu, WithSAreAGradAndAForwardOfOneInput) {
  const Program p = build(swiglu_grad_three_times(7, 5));
  const std::vector<Op>& ops = p.sections[0].ops;
  Op expected = ops[2];
  expected.id = expected.logical = ops[1].id;
  expected.outputs = {ops[1].outputs[0], ops[0].outputs[0]};
  EXPECT_EQ(swiglu_grad_with_s(ops[1], ops[0]), expected);
  EXPECT_EQ(swiglu_grad_with_s(ops[2], ops[0]), std::nullopt) << "it writes one already";
  EXPECT_EQ(swiglu_grad_with_s(ops[0], ops[0]), std::nullopt);
  EXPECT_EQ(swiglu_grad_with_s(ops[1], ops[1]), std::nullopt);
  Op other = ops[0];
  other.inputs[0] = p.find("ds");
  EXPECT_EQ(swiglu_grad_with_s(ops[1], other), std::nullopt);
}

TEST(SwiGlu, Repeatable) {
  for (const Forward& forward : {plain(65, 129), backward(65, 129)}) {
    expect_repeatable(forward, random_inputs(build(forward)), DType::f32);
    expect_repeatable(forward, random_inputs(build(forward)), DType::bf16);
  }
}

TEST(SwiGlu, RejectsShapes) {
  expect_shape_error([](Builder& b) { swiglu(b, "s", b.parameter("gate_up", {2, 3})); }, "gate_up must be [N, 2F]");
  expect_shape_error(
      [](Builder& b) {
        b.call("swiglu_grad", {b.parameter("ds", {2, 3}), b.parameter("gate_up", {2, 8})}, {"dgate_up"});
      },
      "gate_up must be [2, 6]");
  expect_shape_error(
      [](Builder& b) {
        const BufferId gate_up = b.parameter("gate_up", {2, 6});
        const BufferId s = b.program.add({.name = "s", .shape = {2, 3}, .view = View{gate_up, 6}});
        b.call("swiglu_grad", {b.parameter("ds", {2, 3}), gate_up}, {"dgate_up", s});
      },
      "s must not share memory with gate_up");
}

}  // namespace
}  // namespace centavo::testing
