#include "ops/layernorm/layernorm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/models.h"
#include "tests/support/norm_grad_cases.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

// x, delta, weight and bias are trainable so that every gradient is checked.
Forward plain(int64_t rows, int64_t columns) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", {rows, columns});
    layernorm(b, "h", x, kNone, b.parameter("weight", {columns}), b.parameter("bias", {columns}), 1e-5);
  };
}

Forward fused(int64_t rows, int64_t columns) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", {rows, columns});
    const BufferId delta = b.parameter("delta", {rows, columns});
    layernorm(b, "h", x, delta, b.parameter("weight", {columns}), b.parameter("bias", {columns}), 1e-5);
  };
}

TEST(LayerNorm, ByHand) {
  // mean 4, mean((-3)^2, 3^2, 0) = 6, eps 0
  const Forward forward = [](Builder& b) {
    const BufferId x = b.parameter("x", {1, 3});
    layernorm(b, "h", x, kNone, b.parameter("weight", {3}), b.parameter("bias", {3}), 0.0);
  };
  const Tensors out =
      run_step(build(forward, DType::f64), {{"x", {1, 7, 4}}, {"weight", {1, 2, 3}}, {"bias", {10, 20, 30}}});
  EXPECT_DOUBLE_EQ(out.at("h.mean")[0], 4);
  EXPECT_DOUBLE_EQ(out.at("h.rstd")[0], 1 / std::sqrt(6.0));
  EXPECT_DOUBLE_EQ(out.at("h")[0], 10 - 3 / std::sqrt(6.0));
  EXPECT_DOUBLE_EQ(out.at("h")[1], 20 + 6 / std::sqrt(6.0));
  EXPECT_DOUBLE_EQ(out.at("h")[2], 30);
}

TEST(LayerNorm, FusedEqualsAddThenNorm) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Tensors in = random_inputs(build(fused(5, 33)));
    const Tensors together = run_step(build(fused(5, 33), dtype), in);
    in["x"] = together.at("h.sum");
    const Tensors apart = run_step(build(plain(5, 33), dtype), in);
    EXPECT_EQ(together.at("h"), apart.at("h"));
    EXPECT_EQ(together.at("h.mean"), apart.at("h.mean"));
    EXPECT_EQ(together.at("h.rstd"), apart.at("h.rstd"));
  }
}

TEST(LayerNorm, ASumNobodyAskedForIsNotWritten) {
  const Forward not_asked = [](Builder& b) {
    const BufferId x = b.parameter("x", {5, 33});
    const BufferId delta = b.parameter("delta", {5, 33});
    b.call("layernorm", {x, delta, b.parameter("weight", {33}), b.parameter("bias", {33})},
           {"h", "h.mean", "h.rstd", Into()}, {{"eps", 1e-5}});
  };
  const Tensors in = random_inputs(build(fused(5, 33)));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    EXPECT_EQ(run_step(build(not_asked, dtype), in).at("h"), run_step(build(fused(5, 33), dtype), in).at("h"));
  }
}

TEST(LayerNorm, Gradients) {
  for (const int64_t columns : {2, 5, 33}) {
    expect_gradients(plain(3, columns), random_inputs(build(plain(3, columns))), {"h"});
    expect_gradients(fused(3, columns), random_inputs(build(fused(3, columns))), {"h", "h.sum"});
    expect_gradients(fused(3, columns), random_inputs(build(fused(3, columns))), {"h"});
  }
}

// Frozen parameters get no gradient, whichever of the two they are.
TEST(LayerNorm, GradientsOfWhatIsTrainable) {
  for (const bool weight_trains : {false, true}) {
    for (const bool bias_trains : {false, true}) {
      const Forward forward = [=](Builder& b) {
        const BufferId x = b.parameter("x", {3, 9});
        const BufferId weight = b.parameter("weight", {9}, weight_trains);
        layernorm(b, "h", x, kNone, weight, b.parameter("bias", {9}, bias_trains), 1e-5);
      };
      expect_gradients(forward, random_inputs(build(forward)), {"h"});
    }
  }
}

TEST(LayerNorm, EveryDtypeAndAwkwardSize) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    const Forward forward = fused(7, columns);
    const Tensors in = random_inputs(build(forward));
    const double steps = static_cast<double>(columns) + 8;
    expect_close_to_f64(forward, in, DType::f32, {"h", "h.sum"}, steps * unit_roundoff(DType::f32));
    // bf16: the sum is rounded once (relative to its own size), which moves every deviation; h once more
    if (columns > 1) expect_close_to_f64(forward, in, DType::bf16, {"h", "h.sum"}, 6 * unit_roundoff(DType::bf16));
  }
}

// The deviations are those from the mean: 1000 times it beside them leaves the variance its digits.
TEST(LayerNorm, AMeanFarFromZero) {
  Tensors in = random_inputs(build(plain(3, 256)));
  for (double& x : in.at("x")) x += 1000;
  // mean and x carry u * 1000, deviations are about 1
  expect_close_to_f64(plain(3, 256), in, DType::f32, {"h", "h.rstd"}, 3000 * unit_roundoff(DType::f32));
}

TEST(LayerNorm, Repeatable) {
  const Forward forward = fused(65, 129);
  expect_repeatable(forward, random_inputs(build(forward)), DType::f32);
  expect_repeatable(forward, random_inputs(build(forward)), DType::bf16);
}

// The backward op alone.
Forward backward(int64_t rows, int64_t columns, DType gradient, Bind bind) {
  return [=](Builder& b) {
    const Shape shape = {rows, columns};
    const DType dtype = b.compute() == DType::f64 ? DType::f64 : gradient;
    const auto result = [&](const char* name) {
      return b.program.add({.name = name, .dtype = dtype, .shape = {columns}});
    };
    const BufferId dweight = result("dweight");
    const BufferId dbias = result("dbias");
    const BufferId dsum = b.parameter("dsum", shape);
    const BufferId sum = b.parameter("sum", shape);
    const BufferId weight = b.parameter("weight", {columns});
    const BufferId mean = b.stream_in("mean", accumulator_of(b.compute()), {rows});
    const BufferId rstd = b.stream_in("rstd", accumulator_of(b.compute()), {rows});
    const auto call = [&](const char* dh, const char* dx, Bind how) {
      b.call("layernorm_grad", {b.parameter(dh, shape), dsum, sum, weight, mean, rstd},
             {dx, Into(dweight, how), Into(dbias, how)});
    };
    call("dh", "dx", Bind::write);
    if (bind == Bind::add) call("dh2", "dx2", Bind::add);
  };
}

TEST(LayerNorm, BackwardOfEveryDtypeAndAwkwardSize) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 1024}) {
    for (const DType gradient : {DType::f32, DType::bf16}) {
      for (const Bind bind : {Bind::write, Bind::add}) {
        const Forward forward = backward(70, columns, gradient, bind);
        Tensors in = random_inputs(build(forward));
        for (double& rstd : in.at("rstd")) rstd = 1 + 0.1 * rstd;
        for (double& mean : in.at("mean")) mean *= 0.1;
        const double in_row = (static_cast<double>(columns) + 20) * unit_roundoff(DType::f32);
        expect_close_to_f64(forward, in, DType::f32, {"dx"}, in_row);
        expect_close_to_f64(forward, in, DType::bf16, {"dx"}, in_row + 1.01 * unit_roundoff(DType::bf16));
        const int times = bind == Bind::add ? 2 : 1;
        // 70 rows, each element below the largest sum
        const double sums = 70.0 * times * unit_roundoff(DType::f32) + 1.01 * times * unit_roundoff(gradient);
        expect_close_to_f64(forward, in, DType::f32, {"dweight", "dbias"}, sums);
        expect_close_to_f64(forward, in, DType::bf16, {"dweight", "dbias"}, sums);
      }
    }
  }
}

TEST(LayerNorm, BackwardGivesTheForwardsHAsWell) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      for (const bool all : {true, false}) {
        SCOPED_TRACE(fmt::format("{} {}", name_of(dtype), columns));
        const Forward forward = norm_grad_three_times({"layernorm", 70, columns, all, all});
        expect_same_norm_grads(run_step(build(forward, dtype), random_inputs(build(forward))));
      }
    }
  }
}

TEST(LayerNorm, WithHAreAGradAndANormOfOneSum) {
  expect_with_h({"layernorm", 7, 5}, layernorm_grad_with_h);
  expect_with_h({"layernorm", 7, 5, false, false}, layernorm_grad_with_h);
}

// One more tensor is written; nothing more is read but a bias in f32.
TEST(LayerNorm, CostOfH) {
  const Program p = build(norm_grad_three_times({"layernorm", 7, 5}), DType::bf16);
  const auto cost_of = [&](size_t op) {
    return test_ops().at("layernorm_grad").cost(OpView(p, p.sections[0].ops[op]));
  };
  EXPECT_EQ(cost_of(2).bytes - cost_of(1).bytes, 7 * 5 * 2 + 5 * 4);
  EXPECT_EQ(cost_of(2).flops - cost_of(1).flops, 2 * 7 * 5);
}

TEST(LayerNorm, RejectsShapes) {
  expect_shape_error(
      [](Builder& b) {
        const BufferId sum = b.parameter("sum", {2, 3});
        const Buffer h{.name = "h", .shape = {2, 3}, .view = View{sum, 0}};
        const auto row = [&](const char* name) { return b.stream_in(name, DType::f32, {2}); };
        b.call("layernorm_grad",
               {b.parameter("dh", {2, 3}), kNone, sum, b.parameter("weight", {3}), row("mean"), row("rstd"),
                b.parameter("bias", {3})},
               {"dx", Into(), Into(), b.program.add(h)});
      },
      "h must share memory with dh alone");
  expect_shape_error(
      [](Builder& b) {
        layernorm(b, "h", b.parameter("x", {2, 3}), kNone, b.parameter("weight", {4}), b.parameter("bias", {3}), 1e-5);
      },
      "weight must be [3]");
  expect_shape_error(
      [](Builder& b) {
        layernorm(b, "h", b.parameter("x", {2, 3}), kNone, b.parameter("weight", {3}), b.parameter("bias", {4}), 1e-5);
      },
      "bias must be [3]");
}

}  // namespace
}  // namespace centavo::testing
