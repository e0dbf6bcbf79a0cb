#include <gtest/gtest.h>

#include "ops/rmsnorm/rmsnorm.h"
#include "tests/support/cuda_check.h"
#include "tests/support/norm_grad_cases.h"

namespace centavo::testing {
namespace {

const double kF32 = unit_roundoff(DType::f32);
const double kBf16 = unit_roundoff(DType::bf16);

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

struct Backward {
  int64_t rows;
  int64_t columns;
  DType gradient = DType::f32;  // of dweight
  bool has_dsum = true;
  bool has_dweight = true;
  int times = 1;  // calls on different dh; all but the first add to dweight
};

// The backward op alone, its outputs ordinary values. The f64 program keeps dweight in f64.
Forward backward(const Backward& f) {
  return [=](Builder& b) {
    const Shape shape = {f.rows, f.columns};
    const BufferId dsum = f.has_dsum ? b.parameter("dsum", shape) : kNone;
    const BufferId sum = b.parameter("sum", shape);
    const BufferId weight = b.parameter("weight", {f.columns});
    const BufferId rstd = b.stream_in("rstd", accumulator_of(b.compute()), {f.rows});
    const DType dtype = b.compute() == DType::f64 ? DType::f64 : f.gradient;
    const BufferId dweight =
        f.has_dweight ? b.program.add({.name = "dweight", .dtype = dtype, .shape = {f.columns}}) : kNone;
    for (int i = 0; i < f.times; ++i) {
      const BufferId dh = b.parameter("dh" + std::to_string(i), shape);
      const Into into = f.has_dweight ? Into(dweight, i == 0 ? Bind::write : Bind::add) : Into();
      b.call("rmsnorm_grad", {dh, dsum, sum, weight, rstd}, {"dx" + std::to_string(i), into});
    }
  };
}

// Operands are windows into buffers: x and delta start `offset` elements in, weight `weight_offset`.
Forward windows(int64_t rows, int64_t columns, int64_t offset, int64_t weight_offset) {
  return [=](Builder& b) {
    const auto window = [&](const std::string& name, const Shape& shape, int64_t begin) {
      const BufferId whole = b.parameter(name, {element_count(shape) + begin}, false);
      return b.program.add({.name = name + ".window",
                            .dtype = b.compute(),
                            .shape = shape,
                            .kind = BufferKind::parameter,
                            .view = View{whole, begin}});
    };
    const BufferId x = window("x", {rows, columns}, offset);
    rmsnorm(b, "h", x, window("delta", {rows, columns}, offset), window("weight", {columns}, weight_offset), 1e-5);
  };
}

double steps(int64_t columns) { return static_cast<double>(columns) / 2 + 4; }

void expect_forward(const Forward& forward, int64_t columns, const std::vector<std::string>& names) {
  const Tensors in = random_inputs(build(forward));
  expect_cuda_close(forward, in, DType::f32, names, steps(columns) * kF32);
  // the sum is rounded once (relative to its own size), h once more
  expect_cuda_close(forward, in, DType::bf16, names, 3 * kBf16);
}

// rstd as if sum were normal numbers.
Tensors backward_inputs(const Forward& forward) {
  Tensors in = random_inputs(build(forward));
  for (double& rstd : in.at("rstd")) rstd = 1 + 0.1 * rstd;
  return in;
}

void expect_backward(const Backward& f) {
  const Forward forward = backward(f);
  const Tensors in = backward_inputs(forward);
  std::vector<std::string> dx;
  for (int i = 0; i < f.times; ++i) dx.push_back("dx" + std::to_string(i));
  const double in_row = (steps(f.columns) + 12) * kF32;
  expect_cuda_close(forward, in, DType::f32, dx, in_row);
  expect_cuda_close(forward, in, DType::bf16, dx, in_row + 1.01 * kBf16);
  if (!f.has_dweight) return;
  const double rounded = 1.01 * f.times * unit_roundoff(f.gradient);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_cuda_close(forward, in, dtype, {"dweight"}, steps(f.rows) * f.times * kF32 + rounded);
  }
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
    expect_forward(windows(5, 256, offset, offset), 256, {"h", "h.sum"});
    expect_forward(windows(5, 256, 0, offset), 256, {"h", "h.sum"});
  }
}

TEST(RmsNormCuda, BackwardOfEveryWidth) {
  NEEDS_GPU();
  for (const int64_t columns : widths()) {
    SCOPED_TRACE(columns);
    expect_backward({.rows = 19, .columns = columns});
    expect_backward({.rows = 1, .columns = columns, .has_dsum = false});
  }
}

TEST(RmsNormCuda, BackwardOfManyRows) {
  NEEDS_GPU();
  expect_backward({.rows = 4099, .columns = 768});
  expect_backward({.rows = 1031, .columns = 2048});
  expect_backward({.rows = 34001, .columns = 40});
  expect_backward({.rows = 34001, .columns = 33});
}

TEST(RmsNormCuda, DweightOfEitherDtypeAdds) {
  NEEDS_GPU();
  for (const DType gradient : {DType::f32, DType::bf16}) {
    for (const int64_t columns : {33, 768, 2048}) {
      SCOPED_TRACE(columns);
      expect_backward({.rows = 70, .columns = columns, .gradient = gradient});
      expect_backward({.rows = 70, .columns = columns, .gradient = gradient, .times = 3});
    }
  }
}

TEST(RmsNormCuda, NoDweightIsWanted) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768, 2048}) expect_backward({.rows = 19, .columns = columns, .has_dweight = false});
}

TEST(RmsNormCuda, GradientRule) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768}) {
    const Tensors in = random_inputs(build(fused(19, columns)));
    const double bound = (steps(columns) + 12) * kF32;
    expect_cuda_gradients_close(fused(19, columns), in, DType::f32, {"h", "h.sum"}, bound);
    expect_cuda_gradients_close(fused(19, columns), in, DType::f32, {"h"}, bound);
    expect_cuda_gradients_close(plain(19, columns), in, DType::f32, {"h"}, bound);
  }
}

TEST(RmsNormCuda, BackwardGivesTheForwardsHAsWell) {
  NEEDS_GPU();
  for (const int64_t columns : widths()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const bool all : {true, false}) {
        SCOPED_TRACE(fmt::format("{} {}", name_of(dtype), columns));
        const Forward forward = norm_grad_three_times({"rmsnorm", 77, columns, all, all});
        expect_same_norm_grads(run_step_cuda(build(forward, dtype), random_inputs(build(forward))));
      }
    }
  }
  const Forward many = norm_grad_three_times({"rmsnorm", 4099, 1024});
  expect_same_norm_grads(run_step_cuda(build(many, DType::bf16), random_inputs(build(many)), {.replayed = true}));
}

TEST(RmsNormCuda, Repeatable) {
  NEEDS_GPU();
  for (const int64_t columns : {129, 1024, 4096}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Forward forward = fused(650, columns);
      expect_cuda_repeatable(forward, random_inputs(build(forward)), dtype);
      const Forward back = backward({.rows = 650, .columns = columns, .times = 2});
      expect_cuda_repeatable(back, backward_inputs(back), dtype);
    }
  }
}

}  // namespace
}  // namespace centavo::testing
