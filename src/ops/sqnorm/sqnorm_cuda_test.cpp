#include <gtest/gtest.h>

#include <cmath>

#include "ops/sqnorm/sqnorm.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16};

Forward of(int64_t n, int64_t block = kNormBlock) {
  return [=](Builder& b) { sqnorm(b, b.parameter("g", {n}), "partials", block); };
}

TEST(SqNormCuda, ByHand) {
  NEEDS_GPU();
  EXPECT_EQ(run_step_cuda(build(of(2)), {{"g", {3, 4}}}).at("partials"), std::vector<double>{25});
}

TEST(SqNormCuda, HasTheBitsOfTheCpu) {
  NEEDS_GPU();
  for (const int64_t n : {1, 15, 16, 17, 31, 32, 33, 127, 4095, 4096, 4097, 8192, 40001, 3000001}) {
    for (const DType dtype : kTypes) {
      SCOPED_TRACE(fmt::format("{} {}", n, name_of(dtype)));
      expect_cuda_equals_cpu(of(n), random_inputs(build(of(n))), dtype, {"partials"});
    }
  }
}

TEST(SqNormCuda, EveryBlock) {
  NEEDS_GPU();
  for (const int64_t block : {16, 48, 64, 128, 512, 1024, 1040, 2048, 4096}) {
    for (const DType dtype : kTypes) {
      SCOPED_TRACE(fmt::format("blocks of {} {}", block, name_of(dtype)));
      expect_cuda_equals_cpu(of(20011, block), random_inputs(build(of(20011))), dtype, {"partials"});
    }
  }
}

TEST(SqNormCuda, CloseToF64AndReplayed) {
  NEEDS_GPU();
  for (const DType dtype : kTypes) {
    // sums in f64, rounded to f32 once on both sides
    expect_cuda_close(of(40001), random_inputs(build(of(40001))), dtype, {"partials"}, 2 * unit_roundoff(DType::f32));
    expect_cuda_repeatable(of(100001), random_inputs(build(of(100001))), dtype);
  }
}

// Neither the gradient nor the partials begin at a multiple of 16 bytes.
TEST(SqNormCuda, ViewsMayBeginAnywhere) {
  NEEDS_GPU();
  const Forward forward = [](Builder& b) {
    const BufferId all = b.parameter("all", {9001});
    const BufferId g = b.program.add({.name = "g", .dtype = b.compute(), .shape = {8999}, .view = View{all, 1}});
    const BufferId sums = b.program.add({.name = "sums", .dtype = DType::f32, .shape = {4}});
    sqnorm(b, g, b.program.add({.name = "of_g", .dtype = DType::f32, .shape = {3}, .view = View{sums, 1}}));
    sqnorm(b, b.parameter("h", {7}),
           b.program.add({.name = "of_h", .dtype = DType::f32, .shape = {1}, .view = View{sums, 0}}));
  };
  for (const DType dtype : kTypes) {
    expect_cuda_equals_cpu(forward, random_inputs(build(forward)), dtype, {"of_g", "of_h"});
  }
}

TEST(SqNormCuda, ExtremesReachTheirBlockOnly) {
  NEEDS_GPU();
  std::vector<double> g(5 * kNormBlock, 1.0);
  g[5] = std::nan("");
  g[kNormBlock] = 1e20;  // its square is beyond f32
  for (size_t i = 2 * kNormBlock; i < 3 * kNormBlock; ++i) g[i] = 1e-21;
  g[3 * kNormBlock] = 1e-40;
  for (const DType dtype : kTypes) {
    const Program program = build(of(5 * kNormBlock), dtype);
    const auto partials = run_step_cuda(program, {{"g", g}}).at("partials");
    const auto expected = run_step(program, {{"g", g}}).at("partials");
    EXPECT_TRUE(std::isnan(partials[0]));
    EXPECT_TRUE(std::isinf(partials[1]));
    for (size_t b = 2; b < 5; ++b) EXPECT_EQ(partials[b], expected[b]) << b;
  }
}

}  // namespace
}  // namespace centavo::testing
