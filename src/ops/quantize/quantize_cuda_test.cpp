#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/quantize/quantize.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16};

struct Format {
  const char* name;
  Stage stage;  // where the builder makes outputs of this format
};

constexpr Format kFormats[] = {{"e4m3", Stage::forward}, {"e5m2", Stage::backward}};

Forward quantized(int64_t rows, int64_t columns, const Format& format) {
  return [=](Builder& b) {
    b.stage = format.stage;
    const BufferId x = b.parameter("x", {rows, columns});
    quantize(b, "q", x, amax(b, "m", x), format.name);
  };
}

void expect_equals_cpu(const Forward& forward, const Tensors& in) {
  for (const DType dtype : kTypes) expect_cuda_equals_cpu(forward, in, dtype, {"m", "q"});
}

TEST(QuantizeCuda, HasTheBitsOfTheCpu) {
  NEEDS_GPU();
  for (const Format& format : kFormats) {
    for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
      SCOPED_TRACE(fmt::format("{} {}", format.name, columns));
      const Forward forward = quantized(3, columns, format);
      expect_equals_cpu(forward, random_inputs(build(forward)));
    }
    const Forward large = quantized(2048, 1024, format);
    expect_equals_cpu(large, random_inputs(build(large)));
  }
}

// Powers of two apart, so that the scaled values run through all numbers of the formats, the subnormal ones included.
TEST(QuantizeCuda, EveryMagnitude) {
  NEEDS_GPU();
  for (const Format& format : kFormats) {
    const Forward forward = quantized(1, 4001, format);
    std::vector<double> x = random_values("x", 4001);
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::ldexp(x[i], -static_cast<int>(i % 40));
    expect_equals_cpu(forward, {{"x", x}});
  }
}

TEST(QuantizeCuda, ZerosAndTinyValues) {
  NEEDS_GPU();
  for (const Format& format : kFormats) {
    const Forward forward = quantized(1, 3, format);
    expect_equals_cpu(forward, {{"x", {0, -0.0, 0}}});
    expect_equals_cpu(forward, {{"x", {0x1p-130, -0x1p-131, 0}}});  // kMax / m is beyond the largest f32
  }
}

TEST(QuantizeCuda, NotFinite) {
  NEEDS_GPU();
  for (const Format& format : kFormats) {
    for (const DType dtype : kTypes) {
      const Program program = build(quantized(1, 3, format), dtype);
      const Tensors nan = run_step_cuda(program, {{"x", {1, std::nan(""), -2}}});
      EXPECT_EQ(nan.at("m")[0], 2);
      EXPECT_TRUE(std::isnan(nan.at("q")[1]));
      const Tensors infinite = run_step_cuda(program, {{"x", {1, -std::numeric_limits<double>::infinity(), 0}}});
      EXPECT_TRUE(std::isinf(infinite.at("m")[0]));
      EXPECT_EQ(infinite.at("q")[0], 0);
    }
  }
}

TEST(QuantizeCuda, LargerValuesThanAmaxSaturate) {
  NEEDS_GPU();
  const Forward forward = [](Builder& b) {
    quantize(b, "q", b.parameter("x", {40}), b.stream_in("m", DType::f32, {1}), "e4m3");
  };
  Tensors in = random_inputs(build(forward));
  in["m"] = {0.25};
  for (const DType dtype : kTypes) expect_cuda_equals_cpu(forward, in, dtype, {"q"});
}

TEST(QuantizeCuda, ViewsMayBeginAnywhere) {
  NEEDS_GPU();
  const Forward forward = [](Builder& b) {
    const BufferId all = b.parameter("all", {5003});
    const BufferId x = b.program.add({.name = "x", .dtype = b.compute(), .shape = {5002}, .view = View{all, 1}});
    quantize(b, "q", x, amax(b, "m", x), "e4m3");
  };
  expect_equals_cpu(forward, random_inputs(build(forward)));
}

TEST(QuantizeCuda, Repeatable) {
  NEEDS_GPU();
  const Forward forward = quantized(65, 1029, kFormats[0]);
  for (const DType dtype : kTypes) {
    expect_cuda_repeatable(forward, random_inputs(build(forward)), dtype, {}, {.replayed = true});
  }
}

}  // namespace
}  // namespace centavo::testing
