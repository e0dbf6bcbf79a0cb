#include <gtest/gtest.h>

#include "ops/rmsnorm/rmsnorm.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

constexpr double kF32 = 0x1p-24;
constexpr double kBf16 = 0x1p-9;

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

// The second norm to run backward adds to the gradient of the weight.
Forward with_one_weight(int64_t rows, int64_t columns) {
  return [=](Builder& b) {
    const BufferId weight = b.parameter("weight", {columns});
    rmsnorm(b, "h", b.parameter("x", {rows, columns}), kNone, weight, 1e-5);
    rmsnorm(b, "g", b.parameter("y", {rows, columns}), kNone, weight, 1e-5);
  };
}

// All operands are windows that start `offset` elements into a buffer.
Forward windows(int64_t rows, int64_t columns, int64_t offset) {
  return [=](Builder& b) {
    const auto window = [&](const std::string& name, const Shape& shape) {
      const BufferId whole = b.parameter(name, {element_count(shape) + offset}, false);
      return b.program.add({.name = name + ".window",
                            .dtype = b.compute(),
                            .shape = shape,
                            .kind = BufferKind::parameter,
                            .view = View{whole, offset}});
    };
    const BufferId x = window("x", {rows, columns});
    rmsnorm(b, "h", x, window("delta", {rows, columns}), window("weight", {columns}), 1e-5);
  };
}

double steps(int64_t columns) { return static_cast<double>(columns) / 2 + 4; }

void expect_forward(const Forward& forward, int64_t columns, const std::vector<std::string>& names) {
  const Tensors in = random_inputs(build(forward));
  expect_cuda_close(forward, in, DType::f32, names, steps(columns) * kF32);
  // the sum is rounded once (relative to its own size), h once more
  expect_cuda_close(forward, in, DType::bf16, names, 3 * kBf16);
}

void expect_backward(const Forward& forward, int64_t rows, int64_t columns, const std::vector<std::string>& outputs) {
  const Tensors in = random_inputs(build(forward));
  const double most = static_cast<double>(std::max(rows, columns));
  expect_cuda_gradients_close(forward, in, DType::f32, outputs, (most / 2 + 16) * kF32);
  // the sum, dx or dweight, and a gradient that adds: each rounded once; xhat of a large row carries the sum's rounding
  expect_cuda_gradients_close(forward, in, DType::bf16, outputs, 6 * kBf16);
}

// Every register shape of both dtypes, full and with a part left over, and rows that are too wide for any.
const std::vector<int64_t>& widths() {
  static const std::vector<int64_t> all = {1,    8,    31,   33,   40,   127,  256,  504,   768,   1024,
                                           1032, 2048, 3064, 4096, 6144, 8184, 8192, 12288, 16384, 16392};
  return all;
}

TEST(RmsNormCuda, EveryWidth) {
  NEEDS_GPU();
  for (const int64_t columns : widths()) {
    SCOPED_TRACE(columns);
    expect_forward(fused(9, columns), columns, {"h", "h.sum"});
    expect_forward(plain(7, columns), columns, {"h"});
  }
}

TEST(RmsNormCuda, RstdIsThatOfTheRoundedSum) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768, 4096}) {
    const Forward forward = fused(5, columns);
    const Tensors out = run_step_cuda(build(forward, DType::bf16), random_inputs(build(forward)));
    const Forward of_sum = [=](Builder& b) {
      rmsnorm(b, "h", b.parameter("x", {5, columns}), kNone, b.parameter("weight", {columns}), 1e-5);
    };
    const Tensors apart =
        run_step_cuda(build(of_sum, DType::bf16), {{"x", out.at("h.sum")}, {"weight", out.at("weight")}});
    EXPECT_EQ(out.at("h"), apart.at("h"));
    EXPECT_EQ(out.at("h.rstd"), apart.at("h.rstd"));
  }
}

TEST(RmsNormCuda, ASumNobodyAskedForIsNotWritten) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768}) {
    const Forward asked = fused(5, columns);
    const Forward not_asked = [=](Builder& b) {
      const BufferId x = b.parameter("x", {5, columns});
      const BufferId delta = b.parameter("delta", {5, columns});
      b.call("rmsnorm", {x, delta, b.parameter("weight", {columns})}, {"h", "h.rstd", Into()}, {{"eps", 1e-5}});
    };
    const Tensors in = random_inputs(build(asked));
    EXPECT_EQ(run_step_cuda(build(not_asked, DType::bf16), in).at("h"),
              run_step_cuda(build(asked, DType::bf16), in).at("h"));
  }
}

TEST(RmsNormCuda, WindowsOffTheGrid) {
  NEEDS_GPU();
  for (const int64_t offset : {1, 4, 8}) {
    SCOPED_TRACE(offset);
    expect_forward(windows(5, 256, offset), 256, {"h", "h.sum"});
  }
}

TEST(RmsNormCuda, GradientsOfEveryWidth) {
  NEEDS_GPU();
  for (const int64_t columns : widths()) {
    SCOPED_TRACE(columns);
    expect_backward(fused(19, columns), 19, columns, {"h", "h.sum"});
    // one column without dsum: dx is nothing but what cancellation leaves
    if (columns > 1) expect_backward(fused(19, columns), 19, columns, {"h"});
    if (columns > 1) expect_backward(plain(1, columns), 1, columns, {"h"});
  }
}

TEST(RmsNormCuda, GradientsOfManyRows) {
  NEEDS_GPU();
  expect_backward(fused(4099, 768), 4099, 768, {"h", "h.sum"});
  expect_backward(fused(1031, 2048), 1031, 2048, {"h", "h.sum"});
  expect_backward(fused(33001, 40), 33001, 40, {"h", "h.sum"});
  expect_backward(fused(33001, 33), 33001, 33, {"h", "h.sum"});
}

TEST(RmsNormCuda, TheSecondUseOfAWeightAdds) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768, 2048}) {
    SCOPED_TRACE(columns);
    expect_backward(with_one_weight(70, columns), 70, columns, {"h", "g"});
  }
}

TEST(RmsNormCuda, AFrozenWeightGetsNoGradient) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768}) {
    const Forward frozen = [=](Builder& b) {
      rmsnorm(b, "h", b.parameter("x", {19, columns}), kNone, b.parameter("weight", {columns}, false), 1e-5);
    };
    expect_backward(frozen, 19, columns, {"h"});
  }
}

TEST(RmsNormCuda, Repeatable) {
  NEEDS_GPU();
  for (const int64_t columns : {129, 1024, 4096}) {
    const Forward forward = fused(650, columns);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      expect_cuda_repeatable(forward, random_inputs(build(forward)), dtype, {"h", "h.sum"});
    }
  }
}

}  // namespace
}  // namespace centavo::testing
