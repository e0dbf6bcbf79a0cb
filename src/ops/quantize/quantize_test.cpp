#include "ops/quantize/quantize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

struct Format {
  const char* name;
  Stage stage;  // where the builder makes outputs of this format
  double largest, roundoff, half_subnormal;
};

constexpr Format kFormats[] = {{"e4m3", Stage::forward, 448, 0x1p-4, 0x1p-10},
                               {"e5m2", Stage::backward, 57344, 0x1p-3, 0x1p-17}};

Forward quantized(int64_t rows, int64_t columns, const Format& format) {
  return [=](Builder& b) {
    b.stage = format.stage;
    const BufferId x = b.parameter("x", {rows, columns});
    quantize(b, "q", x, amax(b, "m", x), format.name);
  };
}

TEST(Quantize, ByHand) {
  // kMax / m = 448 / 7 = 64: 0.5 -> 32; 0.33 -> 21.12, between 20 and 22
  const Tensors out = run_step(build(quantized(1, 4, kFormats[0])), {{"x", {0.5, -7, 0.33, 0}}});
  EXPECT_EQ(out.at("m"), std::vector<double>{7});
  EXPECT_EQ(out.at("q"), (std::vector<double>{32, -448, 22, 0}));
}

TEST(Quantize, ZerosStayZeros) {
  for (const Format& format : kFormats) {
    const Tensors out = run_step(build(quantized(2, 2, format)), {{"x", {0, 0, 0, 0}}});
    EXPECT_EQ(out.at("m"), std::vector<double>{0});
    EXPECT_EQ(out.at("q"), (std::vector<double>{0, 0, 0, 0}));
  }
}

TEST(Quantize, TinyValuesKeepTheirDigits) {
  // 448 / m is beyond the largest f32
  const Tensors out = run_step(build(quantized(1, 3, kFormats[0])), {{"x", {0x1p-140, -0x1p-141, 0}}});
  EXPECT_EQ(out.at("q"), (std::vector<double>{448, -224, 0}));
}

TEST(Quantize, NotANumberIsKept) {
  const Tensors out = run_step(build(quantized(1, 3, kFormats[1])), {{"x", {1, std::nan(""), -2}}});
  EXPECT_EQ(out.at("m"), std::vector<double>{2});
  EXPECT_TRUE(std::isnan(out.at("q")[1]));
  EXPECT_EQ(out.at("q")[2], -57344);
}

TEST(Quantize, EveryDtypeFormatAndAwkwardSize) {
  for (const Format& format : kFormats) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
        const Tensors out =
            run_step(build(quantized(3, columns, format), dtype), random_inputs(build(quantized(3, columns, format))));
        const std::vector<double>& x = out.at("x");
        double largest = 0;
        for (const double value : x) largest = std::max(largest, std::fabs(value));
        ASSERT_EQ(out.at("m")[0], static_cast<double>(static_cast<float>(largest)));
        const double unit = out.at("m")[0] / format.largest;
        for (size_t i = 0; i < x.size(); ++i) {
          // scaling and m are rounded to f32 besides
          const double bound = std::max(format.roundoff * std::fabs(x[i]), format.half_subnormal * unit) +
                               2 * unit_roundoff(DType::f32) * std::fabs(x[i]);
          ASSERT_LE(std::fabs(out.at("q")[i] * unit - x[i]), bound)
              << format.name << ' ' << name_of(dtype) << " x[" << i << "] = " << x[i];
        }
      }
    }
  }
}

TEST(Quantize, Repeatable) {
  const Forward forward = quantized(65, 1029, kFormats[0]);
  expect_repeatable(forward, random_inputs(build(forward)), DType::f32);
  expect_repeatable(forward, random_inputs(build(forward)), DType::bf16);
}

TEST(Quantize, RejectsFormatsAndShapes) {
  expect_shape_error(
      [](Builder& b) {
        const BufferId x = b.parameter("x", {2, 3});
        quantize(b, "q", x, amax(b, "m", x), "e3m4");
      },
      "format must be e4m3 or e5m2");
  expect_shape_error(
      [](Builder& b) {
        const BufferId q = b.control("q", DType::f8e5m2, {2, 3});
        const BufferId x = b.parameter("x", {2, 3});
        quantize(b, q, x, amax(b, "m", x), "e4m3");
      },
      "needs an output of f8e4m3");
  expect_shape_error(
      [](Builder& b) {
        quantize(b, "q", b.parameter("x", {2, 3}), b.control("m", DType::f32, {2}), "e4m3");
      },
      "amax must be [1]");
}

}  // namespace
}  // namespace centavo::testing
