#include <gtest/gtest.h>

#include <cmath>

#include "ops/gelu/gelu.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

const double kF32 = unit_roundoff(DType::f32);
const double kBf16 = unit_roundoff(DType::bf16);

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

struct Size {
  int64_t rows;
  int64_t columns;
};

// Awkward ones, whole vectors, and one of a model.
const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {{1, 1}, {7, 31}, {7, 32}, {5, 33}, {3, 127}, {130, 8}, {9, 520}, {513, 3072}};
  return all;
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

TEST(GeluCuda, EverySize) {
  NEEDS_GPU();
  for (const auto& [rows, columns] : sizes()) {
    SCOPED_TRACE(columns);
    const Forward forward = plain(rows, columns);
    const Tensors in = random_inputs(build(forward), 3.0);
    const double bound = 14 * kF32 * relative_to(in.at("x"), forward, in, "y");
    expect_cuda_close(forward, in, DType::f32, {"y"}, bound);
    expect_cuda_close(forward, in, DType::bf16, {"y"}, bound + 1.01 * kBf16);
  }
}

TEST(GeluCuda, BackwardOfEverySize) {
  NEEDS_GPU();
  for (const auto& [rows, columns] : sizes()) {
    SCOPED_TRACE(columns);
    const Forward forward = backward(rows, columns);
    const Tensors in = random_inputs(build(forward), 3.0);
    const double bound = 30 * kF32 * relative_to(in.at("dy"), forward, in, "dx");
    expect_cuda_close(forward, in, DType::f32, {"dx"}, bound);
    expect_cuda_close(forward, in, DType::bf16, {"dx"}, bound + 1.01 * kBf16);
  }
}

TEST(GeluCuda, EveryElementWithinItsBound) {
  NEEDS_GPU();
  Tensors in;
  for (int i = -1200; i <= 1200; ++i) {
    in["x"].push_back(static_cast<float>(i / 100.0));
    in["dy"].push_back(1);
  }
  const auto count = static_cast<int64_t>(in.at("x").size());
  const auto y = run_step_cuda(build(plain(1, count)), in).at("y");
  const auto dx = run_step_cuda(build(backward(1, count)), in).at("dx");
  const auto exact_y = run_step(build(plain(1, count), DType::f64), in).at("y");
  const auto exact_dx = run_step(build(backward(1, count), DType::f64), in).at("dx");
  for (size_t i = 0; i < y.size(); ++i) {
    EXPECT_NEAR(y[i], exact_y[i], 14 * kF32 * std::fabs(in.at("x")[i])) << in.at("x")[i];
    EXPECT_NEAR(dx[i], exact_dx[i], 30 * kF32) << in.at("x")[i];
  }
}

TEST(GeluCuda, FarInputsNeitherOverflowNorVanish) {
  NEEDS_GPU();
  const Tensors in = {{"x", {-1e30, -200, -10, 10, 200, 1e30}}, {"dy", {1, 1, 1, 1, 1, 1}}};
  const std::vector<double> y = run_step_cuda(build(plain(1, 6)), in).at("y");
  const std::vector<double> d = run_step_cuda(build(backward(1, 6)), in).at("dx");
  const float rounded = 1e30f;
  const std::vector<double> expected = {0, 0, 0, 10, 200, rounded};
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(y[i], expected[i], 14 * kF32 * std::fabs(expected[i]) + 1e-35) << i;
    EXPECT_NEAR(d[i], i < 3 ? 0.0 : 1.0, 1e-34) << i;
  }
}

TEST(GeluCuda, NanStays) {
  NEEDS_GPU();
  const Tensors in = {{"x", {std::nan(""), 1}}, {"dy", {1, std::nan("")}}};
  EXPECT_TRUE(std::isnan(run_step_cuda(build(plain(1, 2)), in).at("y")[0]));
  const std::vector<double> dx = run_step_cuda(build(backward(1, 2)), in).at("dx");
  for (const double d : dx) EXPECT_TRUE(std::isnan(d));
}

TEST(GeluCuda, GradientRule) {
  NEEDS_GPU();
  const Tensors in = random_inputs(build(plain(65, 136)));
  expect_cuda_gradients_close(plain(65, 136), in, DType::f32, {"y"}, 60 * kF32);
}

TEST(GeluCuda, Repeatable) {
  NEEDS_GPU();
  for (const int64_t columns : {129, 3072}) {
    for (const Forward& forward : {plain(65, columns), backward(65, columns)}) {
      expect_cuda_repeatable(forward, random_inputs(build(forward)), DType::f32);
      expect_cuda_repeatable(forward, random_inputs(build(forward)), DType::bf16);
    }
  }
}

}  // namespace
}  // namespace centavo::testing
