#include "ops/rmsnorm/rmsnorm.h"

#include <gtest/gtest.h>

#include "tests/support/models.h"
#include "tests/support/norm_grad_cases.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

// x, delta and weight are trainable so that every gradient is checked.
Forward plain(int64_t rows, int64_t columns) {
  return [=](Builder& b) {
    rmsnorm(b, "h", b.parameter("x", {rows, columns}), kNone, b.parameter("weight", {columns}), 1e-5);
  };
}

Forward fused(int64_t rows, int64_t columns) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", {rows, columns});
    const BufferId delta = b.parameter("delta", {rows, columns});
    rmsnorm(b, "h", x, delta, b.parameter("weight", {columns}), 1e-5);
  };
}

TEST(RmsNorm, ByHand) {
  // mean(3^2, 4^2) = 12.5, eps 0: rstd = 1 / sqrt(12.5)
  const Forward forward = [](Builder& b) {
    rmsnorm(b, "h", b.parameter("x", {1, 2}), kNone, b.parameter("weight", {2}), 0.0);
  };
  const Tensors out = run_step(build(forward, DType::f64), {{"x", {3, 4}}, {"weight", {1, 2}}});
  EXPECT_DOUBLE_EQ(out.at("h.rstd")[0], 1 / std::sqrt(12.5));
  EXPECT_DOUBLE_EQ(out.at("h")[0], 3 / std::sqrt(12.5));
  EXPECT_DOUBLE_EQ(out.at("h")[1], 8 / std::sqrt(12.5));
}

TEST(RmsNorm, FusedEqualsAddThenNorm) {
  const Program program = build(fused(5, 33));
  Tensors in = random_inputs(program);
  const Tensors together = run_step(program, in);
  in["x"] = together.at("h.sum");
  const Tensors apart = run_step(build(plain(5, 33)), in);
  EXPECT_EQ(together.at("h"), apart.at("h"));
}

TEST(RmsNorm, Gradients) {
  for (const int64_t columns : {1, 5, 33}) {
    expect_gradients(plain(3, columns), random_inputs(build(plain(3, columns))), {"h"});
    expect_gradients(fused(3, columns), random_inputs(build(fused(3, columns))), {"h", "h.sum"});
  }
}

TEST(RmsNorm, EveryDtypeAndAwkwardSize) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    const Forward forward = fused(7, columns);
    const Tensors in = random_inputs(build(forward));
    const double steps = static_cast<double>(columns) / 2 + 4;
    expect_close_to_f64(forward, in, DType::f32, {"h", "h.rstd", "h.sum"}, steps * unit_roundoff(DType::f32));
    // bf16: the sum is rounded once (relative to its own size), h once more
    expect_close_to_f64(forward, in, DType::bf16, {"h", "h.sum"}, 3 * unit_roundoff(DType::bf16));
  }
}

TEST(RmsNorm, Repeatable) {
  const Forward forward = fused(65, 129);
  expect_repeatable(forward, random_inputs(build(forward)), DType::f32);
  expect_repeatable(forward, random_inputs(build(forward)), DType::bf16);
}

TEST(RmsNorm, BackwardGivesTheForwardsHAsWell) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      for (const bool all : {true, false}) {
        SCOPED_TRACE(fmt::format("{} {}", name_of(dtype), columns));
        const Forward forward = norm_grad_three_times({"rmsnorm", 70, columns, all, all});
        expect_same_norm_grads(run_step(build(forward, dtype), random_inputs(build(forward))));
      }
    }
  }
}

TEST(RmsNorm, WithHAreAGradAndANormOfOneSum) {
  expect_with_h({"rmsnorm", 7, 5}, rmsnorm_grad_with_h);
  expect_with_h({"rmsnorm", 7, 5, false, false}, rmsnorm_grad_with_h);
}

// One more tensor is written; nothing more is read but a bias.
TEST(RmsNorm, CostOfH) {
  const Program p = build(norm_grad_three_times({"rmsnorm", 7, 5}), DType::bf16);
  const auto cost_of = [&](size_t op) { return test_ops().at("rmsnorm_grad").cost(OpView(p, p.sections[0].ops[op])); };
  EXPECT_EQ(cost_of(2).bytes - cost_of(1).bytes, 7 * 5 * 2 + 0);
  EXPECT_EQ(cost_of(2).flops - cost_of(1).flops, 1 * 7 * 5);
}

TEST(RmsNorm, RejectsShapes) {
  expect_shape_error(
      [](Builder& b) {
        const BufferId sum = b.parameter("sum", {2, 3});
        const Buffer h{.name = "h", .shape = {2, 3}, .view = View{sum, 0}};
        const auto row = [&](const char* name) { return b.stream_in(name, DType::f32, {2}); };
        b.call("rmsnorm_grad", {b.parameter("dh", {2, 3}), kNone, sum, b.parameter("weight", {3}), row("rstd")},
               {"dx", Into(), b.program.add(h)});
      },
      "h must share memory with dh alone");
  expect_shape_error(
      [](Builder& b) {
        rmsnorm(b, "h", b.parameter("x", {2, 3}), kNone, b.parameter("weight", {4}), 1e-5);
      },
      "weight must be [3]");
}

}  // namespace
}  // namespace centavo::testing
