#include <gtest/gtest.h>

#include "ops/layernorm/layernorm.h"
#include "tests/support/cuda_check.h"
#include "tests/support/norm_grad_cases.h"

namespace centavo::testing {
namespace {

const double kF32 = unit_roundoff(DType::f32);
const double kBf16 = unit_roundoff(DType::bf16);

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

enum class Wanted { neither, dweight, dbias, both };

struct Backward {
  int64_t rows;
  int64_t columns;
  DType gradient = DType::f32;  // of dweight and dbias
  bool has_dsum = true;
  Wanted wanted = Wanted::both;
  int times = 1;  // calls on different dh; all but the first add to dweight and dbias

  bool wants_weight() const { return wanted == Wanted::dweight || wanted == Wanted::both; }
  bool wants_bias() const { return wanted == Wanted::dbias || wanted == Wanted::both; }
};

// The backward op alone, its outputs ordinary values. The f64 program keeps dweight and dbias in f64.
Forward backward(const Backward& f) {
  return [=](Builder& b) {
    const Shape shape = {f.rows, f.columns};
    const BufferId dsum = f.has_dsum ? b.parameter("dsum", shape) : kNone;
    const BufferId sum = b.parameter("sum", shape);
    const BufferId weight = b.parameter("weight", {f.columns});
    const BufferId mean = b.stream_in("mean", accumulator_of(b.compute()), {f.rows});
    const BufferId rstd = b.stream_in("rstd", accumulator_of(b.compute()), {f.rows});
    const DType dtype = b.compute() == DType::f64 ? DType::f64 : f.gradient;
    const auto result = [&](bool is_wanted, const char* name) {
      return is_wanted ? b.program.add({.name = name, .dtype = dtype, .shape = {f.columns}}) : kNone;
    };
    const BufferId dweight = result(f.wants_weight(), "dweight");
    const BufferId dbias = result(f.wants_bias(), "dbias");
    for (int i = 0; i < f.times; ++i) {
      const Bind bind = i == 0 ? Bind::write : Bind::add;
      const auto into = [&](BufferId id) { return id == kNone ? Into() : Into(id, bind); };
      b.call("layernorm_grad", {b.parameter("dh" + std::to_string(i), shape), dsum, sum, weight, mean, rstd},
             {"dx" + std::to_string(i), into(dweight), into(dbias)});
    }
  };
}

// Operands are windows into buffers: x and delta start `offset` elements in, weight and bias as given.
struct Offsets {
  int64_t rows, weight, bias;
};

Forward windows(int64_t rows, int64_t columns, const Offsets& offsets) {
  return [=](Builder& b) {
    const auto window = [&](const std::string& name, const Shape& shape, int64_t begin) {
      const BufferId whole = b.parameter(name, {element_count(shape) + begin}, false);
      return b.program.add({.name = name + ".window",
                            .dtype = b.compute(),
                            .shape = shape,
                            .kind = BufferKind::parameter,
                            .view = View{whole, begin}});
    };
    const BufferId x = window("x", {rows, columns}, offsets.rows);
    const BufferId delta = window("delta", {rows, columns}, offsets.rows);
    const BufferId weight = window("weight", {columns}, offsets.weight);
    layernorm(b, "h", x, delta, weight, window("bias", {columns}, offsets.bias), 1e-5);
  };
}

double steps(int64_t columns) { return static_cast<double>(columns) + 8; }

void expect_forward(const Forward& forward, int64_t columns, const std::vector<std::string>& names) {
  const Tensors in = random_inputs(build(forward));
  expect_cuda_close(forward, in, DType::f32, names, steps(columns) * kF32);
  // bf16: the sum is rounded once (relative to its own size), which moves every deviation; h once more. One column: its
  // deviation is 0 in both.
  expect_cuda_close(forward, in, DType::bf16, names, 6 * kBf16);
}

// Statistics as if sum were normal numbers.
Tensors backward_inputs(const Forward& forward) {
  Tensors in = random_inputs(build(forward));
  for (double& rstd : in.at("rstd")) rstd = 1 + 0.1 * rstd;
  for (double& mean : in.at("mean")) mean *= 0.1;
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
  std::vector<std::string> sums;
  if (f.wants_weight()) sums.emplace_back("dweight");
  if (f.wants_bias()) sums.emplace_back("dbias");
  const double rounded = 1.01 * f.times * unit_roundoff(f.gradient);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_cuda_close(forward, in, dtype, sums, steps(f.rows) * f.times * kF32 + rounded);
  }
}

// Every register shape of both dtypes, full and with a part left over, and rows that are too wide for any.
const std::vector<int64_t>& widths() {
  static const std::vector<int64_t> all = {1,    8,    31,   33,   40,   127,  256,  504,   768,   1024,
                                           1032, 2048, 3064, 4096, 6144, 8184, 8192, 12288, 16384, 16392};
  return all;
}

TEST(LayerNormCuda, EveryWidth) {
  NEEDS_GPU();
  for (const int64_t columns : widths()) {
    SCOPED_TRACE(columns);
    expect_forward(fused(9, columns), columns, {"h", "h.sum"});
    expect_forward(plain(7, columns), columns, {"h"});
  }
}

TEST(LayerNormCuda, StatisticsAreThoseOfTheRoundedSum) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768, 4096}) {
    const Forward forward = fused(5, columns);
    Tensors in = random_inputs(build(forward));
    const Tensors out = run_step_cuda(build(forward, DType::bf16), in);
    in["x"] = out.at("h.sum");
    const Tensors apart = run_step_cuda(build(plain(5, columns), DType::bf16), in);
    EXPECT_EQ(out.at("h"), apart.at("h"));
    EXPECT_EQ(out.at("h.mean"), apart.at("h.mean"));
    EXPECT_EQ(out.at("h.rstd"), apart.at("h.rstd"));
  }
}

// The deviations are those from the mean: 1000 times it beside them leaves the variance its digits.
TEST(LayerNormCuda, AMeanFarFromZero) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 256, 4096}) {
    Tensors in = random_inputs(build(plain(3, columns)));
    for (double& x : in.at("x")) x += 1000;
    // mean and x carry u * 1000, deviations are about 1
    expect_cuda_close(plain(3, columns), in, DType::f32, {"h", "h.rstd"}, 3000 * kF32);
  }
}

TEST(LayerNormCuda, ASumNobodyAskedForIsNotWritten) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768}) {
    const Forward not_asked = [=](Builder& b) {
      const BufferId x = b.parameter("x", {5, columns});
      const BufferId delta = b.parameter("delta", {5, columns});
      b.call("layernorm", {x, delta, b.parameter("weight", {columns}), b.parameter("bias", {columns})},
             {"h", "h.mean", "h.rstd", Into()}, {{"eps", 1e-5}});
    };
    const Tensors in = random_inputs(build(fused(5, columns)));
    EXPECT_EQ(run_step_cuda(build(not_asked, DType::bf16), in).at("h"),
              run_step_cuda(build(fused(5, columns), DType::bf16), in).at("h"));
  }
}

TEST(LayerNormCuda, WindowsOffTheGrid) {
  NEEDS_GPU();
  for (const int64_t offset : {1, 4, 8}) {
    SCOPED_TRACE(offset);
    for (const Offsets& offsets : {Offsets{offset, offset, offset}, Offsets{0, offset, 0}, Offsets{0, 0, offset}}) {
      expect_forward(windows(5, 256, offsets), 256, {"h", "h.sum"});
    }
  }
}

TEST(LayerNormCuda, BackwardOfEveryWidth) {
  NEEDS_GPU();
  for (const int64_t columns : widths()) {
    SCOPED_TRACE(columns);
    expect_backward({.rows = 19, .columns = columns});
    expect_backward({.rows = 1, .columns = columns, .has_dsum = false});
  }
}

TEST(LayerNormCuda, BackwardOfManyRows) {
  NEEDS_GPU();
  expect_backward({.rows = 4099, .columns = 768});
  expect_backward({.rows = 1031, .columns = 2048});
  expect_backward({.rows = 34001, .columns = 40});
  expect_backward({.rows = 34001, .columns = 33});
}

TEST(LayerNormCuda, GradientsOfEitherDtypeAdd) {
  NEEDS_GPU();
  for (const DType gradient : {DType::f32, DType::bf16}) {
    for (const int64_t columns : {33, 768, 2048}) {
      SCOPED_TRACE(columns);
      expect_backward({.rows = 70, .columns = columns, .gradient = gradient});
      expect_backward({.rows = 70, .columns = columns, .gradient = gradient, .times = 3});
    }
  }
}

TEST(LayerNormCuda, WhatIsNotWantedIsNotWritten) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768, 2048}) {
    for (const Wanted wanted : {Wanted::neither, Wanted::dweight, Wanted::dbias}) {
      expect_backward({.rows = 19, .columns = columns, .wanted = wanted});
    }
  }
}

TEST(LayerNormCuda, GradientRule) {
  NEEDS_GPU();
  for (const int64_t columns : {33, 768}) {
    const Tensors in = random_inputs(build(fused(19, columns)));
    const double bound = (steps(columns) + 12) * kF32;
    expect_cuda_gradients_close(fused(19, columns), in, DType::f32, {"h", "h.sum"}, bound);
    expect_cuda_gradients_close(fused(19, columns), in, DType::f32, {"h"}, bound);
    expect_cuda_gradients_close(plain(19, columns), in, DType::f32, {"h"}, bound);
  }
}

TEST(LayerNormCuda, BackwardGivesTheForwardsHAsWell) {
  NEEDS_GPU();
  for (const int64_t columns : widths()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const bool all : {true, false}) {
        SCOPED_TRACE(fmt::format("{} {}", name_of(dtype), columns));
        const Forward forward = norm_grad_three_times({"layernorm", 77, columns, all, all});
        expect_same_norm_grads(run_step_cuda(build(forward, dtype), random_inputs(build(forward))));
      }
    }
  }
  const Forward many = norm_grad_three_times({"layernorm", 4099, 1024});
  expect_same_norm_grads(run_step_cuda(build(many, DType::bf16), random_inputs(build(many)), {.replayed = true}));
}

TEST(LayerNormCuda, Repeatable) {
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
