#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "base/files.h"
#include "ops/linear/linear.h"
#include "ops/quantize/quantize.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

struct Size {
  int64_t n, k, m;
};

enum class Bias { absent, present };

Forward product(Size s, Bias bias, double scale = 1.0) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", {s.n, s.k});
    const BufferId weight = b.parameter("weight", {s.m, s.k});
    linear(b, "y", x, weight, bias == Bias::present ? b.parameter("bias", {s.m}) : kNone, scale);
  };
}

// linear_dx, linear_dw and linear_db by themselves; the last two give `gradient`, f64 in an f64 program.
Forward gradients(Size s, DType gradient = DType::f32, double scale = 1.0) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", {s.n, s.k});
    const BufferId weight = b.parameter("weight", {s.m, s.k});
    const BufferId dy = b.parameter("dy", {s.n, s.m});
    const DType kept = b.compute() == DType::f64 ? DType::f64 : gradient;
    const auto output = [&](const char* name, const Shape& shape) {
      return b.program.add({.name = name, .dtype = kept, .shape = shape, .kind = BufferKind::gradient});
    };
    b.call("linear_dx", {dy, weight}, {"dx"}, {{"scale", scale}});
    b.call("linear_dw", {dy, x}, {output("dweight", {s.m, s.k})}, {{"scale", scale}});
    b.call("linear_db", {dy}, {output("dbias", {s.m})});
  };
}

// Every op once more, adding: what a second micro-batch does.
Forward twice(const Forward& forward) {
  return [=](Builder& b) {
    forward(b);
    std::vector<Op>& ops = b.program.sections[0].ops;
    const size_t count = ops.size();
    for (size_t i = 0; i < count; ++i) {
      Op again = ops[i];
      again.id = again.logical = b.program.next_op_id();
      again.outputs[0].bind = Bind::add;
      ops.push_back(again);
    }
  };
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::fabs(value));
  return most;
}

// The contract's bound over sums of k products: the program run on magnitudes gives |x||weight|^T + |bias| (+ before).
double bound(const Forward& forward, Tensors inputs, const std::string& name, int64_t k) {  // NOLINT: changes inputs
  const Program program = build(forward, DType::f64);
  const double exact = largest(run_step(program, inputs).at(name));
  for (auto& [input, values] : inputs) {
    for (double& value : values) value = std::fabs(value);
  }
  const double magnitude = largest(run_step(program, inputs).at(name));
  return static_cast<double>(k + 9) * unit_roundoff(DType::f32) * magnitude / exact;
}

// `roundings` to the output, each of a number no larger than the largest result.
void expect_within_bound(const Forward& forward, const std::string& name, int64_t k, int roundings = 1) {
  const Tensors in = random_inputs(build(forward));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Program program = build(forward, dtype);
    const DType to = program.buffer(program.find(name)).dtype;
    // inputs rounded to bf16 change magnitude / exact by a few percent at most: twice is enough
    const double rounding = roundings * unit_roundoff(to);
    expect_cuda_close(forward, in, dtype, {name}, 2 * bound(forward, in, name, k) + rounding);
  }
}

TEST(LinearCuda, ByHand) {
  NEEDS_GPU();
  const Tensors in = {{"x", {1, 2, 3, 4}}, {"weight", {5, 6}}, {"bias", {100}}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors out = run_step_cuda(build(product({2, 2, 1}, Bias::present, 0.5), dtype), in);
    EXPECT_EQ(out.at("y"), (std::vector<double>{108.5, 119.5}));
  }
}

TEST(LinearCuda, GradientsByHand) {
  NEEDS_GPU();
  const Tensors in = {{"x", {1, 2, 3, 4}}, {"weight", {5, 6}}, {"dy", {7, 8}}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const DType gradient : {DType::f32, DType::bf16}) {
      const Tensors out = run_step_cuda(build(gradients({2, 2, 1}, gradient), dtype), in);
      EXPECT_EQ(out.at("dx"), (std::vector<double>{35, 42, 40, 48}));
      EXPECT_EQ(out.at("dweight"), (std::vector<double>{31, 46}));
      EXPECT_EQ(out.at("dbias"), (std::vector<double>{15}));
    }
  }
}

// 2049 has 12 significant bits, one more than tf32 keeps.
TEST(LinearCuda, F32IsMultipliedAsF32) {
  NEEDS_GPU();
  const Size s{128, 256, 128};
  const Tensors in = {{"x", std::vector<double>(static_cast<size_t>(s.n * s.k), 2049.0)},
                      {"weight", std::vector<double>(static_cast<size_t>(s.m * s.k), 1.0)}};
  const Tensors out = run_step_cuda(build(product(s, Bias::absent)), in);
  EXPECT_EQ(out.at("y"), std::vector<double>(static_cast<size_t>(s.n * s.m), 2049.0 * 256));
}

TEST(LinearCuda, EveryDtypeAndAwkwardSize) {
  NEEDS_GPU();
  for (const Bias bias : {Bias::absent, Bias::present}) {
    for (const int64_t k : {1, 31, 32, 33, 127, 4096}) expect_within_bound(product({7, k, 33}, bias), "y", k);
    for (const int64_t m : {1, 31, 127, 4096}) expect_within_bound(product({1, 32, m}, bias, 1.5), "y", 32);
  }
}

TEST(LinearCuda, GradientOpsInEveryDtypeAndAwkwardSize) {
  NEEDS_GPU();
  for (const int64_t n : {1, 31, 32, 33, 127, 4096}) {
    const Size size{n, 32, 31};
    for (const DType gradient : {DType::f32, DType::bf16}) {
      const Forward forward = gradients(size, gradient, 0.5);
      expect_within_bound(forward, "dx", size.m);
      for (const char* name : {"dweight", "dbias"}) expect_within_bound(forward, name, n);
    }
  }
}

// Tiles of every width, in both dtypes; rows that leave blocks of a cluster without work, and some that fill none.
TEST(LinearCuda, DbiasOfWideAndNarrowRows) {
  NEEDS_GPU();
  struct Rows {
    int64_t n, m;
  };
  for (const Rows& s : {Rows{1031, 1}, Rows{1031, 255}, Rows{1031, 256}, Rows{1031, 257}, Rows{1031, 768},
                        Rows{601, 2304}, Rows{601, 3072}, Rows{333, 6400}, Rows{5, 1032}, Rows{5, 12295}}) {
    SCOPED_TRACE(fmt::format("[{}, {}]", s.n, s.m));
    const Forward sums = [=](Builder& b) { b.call("linear_db", {b.parameter("dy", {s.n, s.m})}, {"dbias"}); };
    expect_within_bound(sums, "dbias", s.n);
  }
}

// dy and dbias are windows of other buffers, at any element. A window that begins elsewhere is read element by element,
// in the same order: the same bits.
TEST(LinearCuda, DbiasOfWindows) {
  NEEDS_GPU();
  const int64_t n = 1031, m = 768;
  const auto sums = [=](int64_t offset) -> Forward {
    return [=](Builder& b) {
      const BufferId all = b.parameter("all", {8 + n * m});
      const BufferId dy = b.program.add({.name = "dy",
                                         .dtype = b.compute(),
                                         .shape = {n, m},
                                         .kind = BufferKind::activation,
                                         .view = View{all, offset}});
      const DType kept = b.compute() == DType::f64 ? DType::f64 : DType::f32;
      const BufferId unit =
          b.program.add({.name = "unit", .dtype = kept, .shape = {m + 8}, .kind = BufferKind::gradient});
      const BufferId dbias = b.program.add(
          {.name = "dbias", .dtype = kept, .shape = {m}, .kind = BufferKind::gradient, .view = View{unit, offset}});
      b.call("linear_db", {dy}, {dbias});
      b.call("linear_db", {dy}, {Into(dbias, Bind::add)});
    };
  };
  std::vector<double> rows = random_values("dy", n * m);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    std::vector<double> first;
    for (const int64_t offset : {0, 1, 2, 4, 8}) {
      Tensors in = {{"all", std::vector<double>(static_cast<size_t>(8 + n * m))}};
      std::ranges::copy(rows, in["all"].begin() + offset);
      expect_cuda_close(sums(offset), in, dtype, {"dbias"},
                        2 * bound(sums(offset), in, "dbias", n) + 2 * unit_roundoff(DType::f32));
      const std::vector<double> dbias = run_step_cuda(build(sums(offset), dtype), in).at("dbias");
      if (offset == 0) first = dbias;
      EXPECT_EQ(dbias, first) << "offset " << offset;
    }
  }
}

// Large enough for the candidates to be timed, and for tiles in every direction.
TEST(LinearCuda, RealisticSize) {
  NEEDS_GPU();
  const Size s{512, 768, 1536};
  expect_within_bound(product(s, Bias::present), "y", s.k);
  const Forward backward = gradients(s, DType::bf16);
  expect_within_bound(backward, "dx", s.m);
  expect_within_bound(backward, "dweight", s.n);
}

TEST(LinearCuda, EveryOutputAdds) {
  NEEDS_GPU();
  for (const Size s : {Size{5, 33, 31}, Size{64, 128, 96}}) {
    // the first result and the sum are rounded to y; laid in y first, the bias would be a third
    expect_within_bound(twice(product(s, Bias::present)), "y", s.k, 3);
    expect_within_bound(twice(product(s, Bias::absent)), "y", s.k, 2);
    for (const DType gradient : {DType::f32, DType::bf16}) {
      const Forward forward = twice(gradients(s, gradient));
      expect_within_bound(forward, "dx", s.m, 2);
      for (const char* name : {"dweight", "dbias"}) expect_within_bound(forward, name, s.n, 2);
    }
  }
}

// Operands that are windows of another buffer, at any element.
TEST(LinearCuda, OperandsAtAnyAddress) {
  NEEDS_GPU();
  for (const int64_t offset : {1, 2, 3, 4, 8, 24}) {
    const Size s{17, 64, 48};
    const Forward forward = [=](Builder& b) {
      const BufferId unit = b.parameter("unit", {offset + s.m * s.k + s.m});
      const DType dtype = b.compute();
      const auto window = [&](const char* name, const Shape& shape, int64_t at) {
        return b.program.add({.name = name,
                              .dtype = dtype,
                              .shape = shape,
                              .kind = BufferKind::parameter,
                              .persistent = true,
                              .view = View{unit, at}});
      };
      const BufferId weight = window("weight", {s.m, s.k}, offset);
      const BufferId bias = window("bias", {s.m}, offset + s.m * s.k);
      linear(b, "y", b.parameter("x", {s.n, s.k}), weight, bias);
    };
    Tensors in;
    in["unit"] = random_values("unit", offset + s.m * s.k + s.m);
    in["x"] = random_values("x", s.n * s.k);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      expect_cuda_close(forward, in, dtype, {"y"}, 2 * bound(forward, in, "y", s.k) + unit_roundoff(dtype));
    }
  }
}

TEST(LinearCuda, Repeatable) {
  NEEDS_GPU();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Forward forward = gradients({1031, 129, 200}, dtype);
    expect_cuda_repeatable(forward, random_inputs(build(forward)), dtype);
  }
}

TEST(LinearCuda, EightBitOperandsAreRefused) {
  NEEDS_GPU();
  const Forward forward = [](Builder& b) {
    const BufferId x = b.parameter("x", {16, 16});
    const BufferId mx = amax(b, "x.amax", x);
    const BufferId xq = quantize(b, "x.q", x, mx, "e4m3");
    b.call("linear", {xq, xq, kNone, mx, mx}, {"y"}, {{"scale", 1.0}});
  };
  const Program program = build(forward);
  try {
    run_step_cuda(program, random_inputs(program));
    ADD_FAILURE() << "a product of 8-bit operands ran";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("8-bit"));
  }
}

// A table given beforehand fixes the algorithm, and with it every bit; what is damaged in it is chosen anew.
TEST(LinearCuda, TheTableOfAlgorithmsIsKept) {
  NEEDS_GPU();
  const std::string directory = new_tuning_directory();
  const Program program = build(gradients({1024, 768, 1024}, DType::bf16), DType::bf16);
  const Tensors in = random_inputs(program);
  const CudaRun how = {.tuning_directory = directory};
  const Tensors first = run_step_cuda(program, in, how);
  const std::string kept = tables_in(directory);
  EXPECT_THAT(kept, ::testing::HasSubstr("product tn m1024 n768 k1024"));
  EXPECT_EQ(run_step_cuda(program, in, how), first);
  EXPECT_EQ(tables_in(directory), kept);

  std::string damaged = kept;
  damaged[damaged.rfind('"') - 1] = 'x';  // the last digit of the last algorithm
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    write_file_atomic(file.path().string(), damaged);
  }
  run_step_cuda(program, in, how);
  EXPECT_NE(tables_in(directory), damaged);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace centavo::testing
