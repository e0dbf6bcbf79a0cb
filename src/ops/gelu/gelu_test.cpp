#include "ops/gelu/gelu.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

// x is trainable so that its gradient is checked.
Forward plain(int64_t rows, int64_t columns) {
  return [=](Builder& b) { gelu(b, "y", b.parameter("x", {rows, columns})); };
}

// The backward op alone, its output an ordinary value.
Forward backward(int64_t rows, int64_t columns) {
  return [=](Builder& b) {
    const BufferId dy = b.parameter("dy", {rows, columns});
    b.call("gelu_grad", {dy, b.parameter("x", {rows, columns})}, {"dx"});
  };
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::fabs(value));
  return most;
}

// The bounds are relative to x and dy, which may exceed every y and dx.
double relative_to(const std::vector<double>& given, const Forward& forward, const Tensors& in, const char* result) {
  return std::max(1.0, largest(given) / largest(run_step(build(forward, DType::f64), in).at(result)));
}

TEST(Gelu, TheTanhFormula) {
  const std::vector<double> x = {-30, -5, -3, -1, -0.5, -1e-3, 0, 1e-3, 0.5, 1, 3, 5, 30};
  const std::vector<double> y = run_step(build(plain(1, 13), DType::f64), {{"x", x}}).at("y");
  for (size_t i = 0; i < x.size(); ++i) {
    const double inner = std::sqrt(2 / M_PI) * (x[i] + 0.044715 * std::pow(x[i], 3));
    // 1 + tanh cancels on the negative side
    EXPECT_NEAR(y[i], 0.5 * x[i] * (1 + std::tanh(inner)), 20 * unit_roundoff(DType::f64) * std::fabs(x[i])) << x[i];
  }
  EXPECT_NEAR(y[9], 0.8411919906082768, 1e-15);  // torch.nn.functional.gelu(1, approximate="tanh")
}

TEST(Gelu, FarInputsNeitherOverflowNorVanish) {
  const Tensors in = {{"x", {-1e30, -200, -10, 10, 200, 1e30}}, {"dy", {1, 1, 1, 1, 1, 1}}};
  const std::vector<double> y = run_step(build(plain(1, 6)), in).at("y");
  const std::vector<double> d = run_step(build(backward(1, 6)), in).at("dx");
  const float rounded = 1e30f;
  const std::vector<double> expected = {0, 0, 0, 10, 200, rounded};
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(y[i], expected[i], 14 * unit_roundoff(DType::f32) * std::fabs(expected[i]) + 1e-35) << i;
    EXPECT_NEAR(d[i], i < 3 ? 0.0 : 1.0, 1e-34) << i;
  }
}

TEST(Gelu, NanStays) {
  const Tensors in = {{"x", {std::nan(""), 1}}, {"dy", {1, std::nan("")}}};
  EXPECT_TRUE(std::isnan(run_step(build(plain(1, 2)), in).at("y")[0]));
  const std::vector<double> dx = run_step(build(backward(1, 2)), in).at("dx");
  for (const double d : dx) EXPECT_TRUE(std::isnan(d));
}

TEST(Gelu, Gradients) {
  for (const int64_t columns : {1, 5, 33}) {
    expect_gradients(plain(3, columns), random_inputs(build(plain(3, columns)), 2.0), {"y"});
  }
}

TEST(Gelu, EveryDtypeAndAwkwardSize) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    const Tensors in = random_inputs(build(plain(7, columns)), 3.0);
    const double bound = 14 * unit_roundoff(DType::f32) * relative_to(in.at("x"), plain(7, columns), in, "y");
    expect_close_to_f64(plain(7, columns), in, DType::f32, {"y"}, bound);
    expect_close_to_f64(plain(7, columns), in, DType::bf16, {"y"}, bound + 1.01 * unit_roundoff(DType::bf16));
  }
}

TEST(Gelu, BackwardOfEveryDtypeAndAwkwardSize) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    const Forward forward = backward(7, columns);
    const Tensors in = random_inputs(build(forward), 3.0);
    const double bound = 30 * unit_roundoff(DType::f32) * relative_to(in.at("dy"), forward, in, "dx");
    expect_close_to_f64(forward, in, DType::f32, {"dx"}, bound);
    expect_close_to_f64(forward, in, DType::bf16, {"dx"}, bound + 1.01 * unit_roundoff(DType::bf16));
  }
}

// The bound of every single element, where y is far below x.
TEST(Gelu, EveryElementWithinItsBound) {
  Tensors in;
  for (int i = -1200; i <= 1200; ++i) {
    in["x"].push_back(static_cast<float>(i / 100.0));
    in["dy"].push_back(1);
  }
  const auto count = static_cast<int64_t>(in.at("x").size());
  const auto y = run_step(build(plain(1, count)), in).at("y");
  const auto dx = run_step(build(backward(1, count)), in).at("dx");
  const auto exact_y = run_step(build(plain(1, count), DType::f64), in).at("y");
  const auto exact_dx = run_step(build(backward(1, count), DType::f64), in).at("dx");
  const double u = unit_roundoff(DType::f32);
  for (size_t i = 0; i < y.size(); ++i) {
    EXPECT_NEAR(y[i], exact_y[i], 14 * u * std::fabs(in.at("x")[i])) << in.at("x")[i];
    EXPECT_NEAR(dx[i], exact_dx[i], 30 * u) << in.at("x")[i];
  }
}

TEST(Gelu, Repeatable) {
  for (const Forward& forward : {plain(650, 129), backward(650, 129)}) {
    expect_repeatable(forward, random_inputs(build(forward)), DType::f32);
    expect_repeatable(forward, random_inputs(build(forward)), DType::bf16);
  }
}

TEST(Gelu, RejectsShapes) {
  expect_shape_error([](Builder& b) { gelu(b, "y", b.parameter("x", {3})); }, "x must be [N, F]");
  expect_shape_error(
      [](Builder& b) {
        b.call("gelu_grad", {b.parameter("dy", {2, 3}), b.parameter("x", {2, 8})}, {"dx"});
      },
      "x must be [2, 3] like dy");
}

}  // namespace
}  // namespace centavo::testing
