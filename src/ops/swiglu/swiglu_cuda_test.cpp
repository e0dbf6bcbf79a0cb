#include <gtest/gtest.h>

#include <cmath>

#include "ops/swiglu/swiglu.h"
#include "tests/support/cuda_check.h"
#include "tests/support/swiglu_cases.h"

namespace centavo::testing {
namespace {

const double kF32 = unit_roundoff(DType::f32);
const double kBf16 = unit_roundoff(DType::bf16);

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

struct Size {
  int64_t rows;
  int64_t columns;
};

// Awkward ones, whole vectors, and one of a model.
const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {{1, 1}, {7, 31}, {7, 32}, {5, 33}, {3, 127}, {130, 8}, {9, 520}, {513, 2816}};
  return all;
}

TEST(SwiGluCuda, EverySize) {
  NEEDS_GPU();
  for (const auto& [rows, columns] : sizes()) {
    SCOPED_TRACE(columns);
    const Tensors in = random_inputs(build(plain(rows, columns)), 4.0);
    expect_cuda_close(plain(rows, columns), in, DType::f32, {"s"}, 12 * kF32);
    expect_cuda_close(plain(rows, columns), in, DType::bf16, {"s"}, 1.01 * kBf16);
  }
}

// The bound of dgate is relative to ds * up, which may exceed every dgate.
TEST(SwiGluCuda, BackwardOfEverySize) {
  NEEDS_GPU();
  for (const auto& [rows, columns] : sizes()) {
    SCOPED_TRACE(columns);
    const Forward forward = backward(rows, columns);
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
    const double bound = 18 * kF32 * std::max(1.0, factor / largest);
    expect_cuda_close(forward, in, DType::f32, {"dgate_up"}, bound);
    expect_cuda_close(forward, in, DType::bf16, {"dgate_up"}, bound + 1.01 * kBf16);
  }
}

TEST(SwiGluCuda, BackwardGivesTheForwardsBitsAsWell) {
  NEEDS_GPU();
  for (const auto& [rows, columns] : sizes()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Tensors& in : swiglu_grad_inputs(rows, columns)) {
        SCOPED_TRACE(fmt::format("{} {}", name_of(dtype), columns));
        expect_same_swiglu_grads(run_step_cuda(build(swiglu_grad_three_times(rows, columns), dtype), in));
      }
    }
  }
}

TEST(SwiGluCuda, GradientRule) {
  NEEDS_GPU();
  const Tensors in = random_inputs(build(plain(65, 136)));
  expect_cuda_gradients_close(plain(65, 136), in, DType::f32, {"s"}, 36 * kF32);
}

TEST(SwiGluCuda, FarGatesNeitherOverflowNorVanish) {
  NEEDS_GPU();
  const Tensors in = {{"gate_up", {-1e30, -200, -90, 90, 200, 1e30, 1, 1, 1, 1, 1, 1}}, {"ds", {1, 1, 1, 1, 1, 1}}};
  const std::vector<double> expected = {0, 0, -90 * std::exp(-90.0), 90, 200, 1e30};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    SCOPED_TRACE(name_of(dtype));
    const std::vector<double> s = run_step_cuda(build(plain(1, 6), dtype), in).at("s");
    const std::vector<double> d = run_step_cuda(build(backward(1, 6), dtype), in).at("dgate_up");
    // silu(-90) is subnormal in f32, 90 places of 2^-149 more; for bf16 its sigma counts as 0. 1e30 is rounded itself.
    const double tiny = dtype == DType::f32 ? 90 * 0x1p-149 : 90 * 0x1p-126;
    for (size_t i = 0; i < expected.size(); ++i) {
      const double relative = dtype == DType::f32 ? 13 * kF32 : 2.02 * kBf16;
      const double allowed = relative * std::fabs(expected[i]) + tiny;
      EXPECT_NEAR(s[i], expected[i], allowed) << i;
      EXPECT_NEAR(d[i], i < 3 ? 0.0 : 1.0, 1e-36) << i;
      EXPECT_NEAR(d[i + 6], expected[i], allowed) << i;
    }
  }
}

TEST(SwiGluCuda, NanStays) {
  NEEDS_GPU();
  const Tensors in = {{"gate_up", {std::nan(""), 1, 1, std::nan("")}}};
  const Tensors out = run_step_cuda(build(plain(1, 2)), in);
  for (const double s : out.at("s")) EXPECT_TRUE(std::isnan(s));
}

TEST(SwiGluCuda, Repeatable) {
  NEEDS_GPU();
  for (const int64_t columns : {129, 1408}) {
    for (const Forward& forward : {plain(65, columns), backward(65, columns)}) {
      expect_cuda_repeatable(forward, random_inputs(build(forward)), DType::f32);
      expect_cuda_repeatable(forward, random_inputs(build(forward)), DType::bf16);
    }
  }
}

}  // namespace
}  // namespace centavo::testing
