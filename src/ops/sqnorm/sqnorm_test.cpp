#include "ops/sqnorm/sqnorm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward of(int64_t n) {
  return [=](Builder& b) { sqnorm(b, b.parameter("g", {n}), "partials"); };
}

std::vector<double> by_definition(const std::vector<double>& g) {
  std::vector<double> partials((g.size() + kNormBlock - 1) / kNormBlock);
  for (size_t i = 0; i < g.size(); ++i) partials[i / kNormBlock] += g[i] * g[i];
  return partials;
}

TEST(SqNorm, ByHand) {
  EXPECT_EQ(run_step(build(of(2)), {{"g", {3, 4}}}).at("partials"), std::vector<double>{25});
  const Tensors ones = run_step(build(of(2 * kNormBlock + 5)), {{"g", std::vector<double>(2 * kNormBlock + 5, -1)}});
  EXPECT_EQ(ones.at("partials"), (std::vector<double>{4096, 4096, 5}));
}

TEST(SqNorm, EveryDtypeAndAwkwardSize) {
  for (const int64_t n : {1, 15, 16, 17, 31, 32, 33, 127, 4095, 4096, 4097, 40001}) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Program program = build(of(n), dtype);
      const Tensors out = run_step(program, random_inputs(program));
      // f64 sums, rounded to f32 once
      expect_near(out.at("partials"), by_definition(out.at("g")), 1.001 * unit_roundoff(DType::f32), "partials");
    }
  }
}

TEST(SqNorm, CutAtBlockBordersGivesTheBitsOfTheWhole) {
  const int64_t cut = 2 * kNormBlock;
  const std::vector<double> g = random_values("g", 19001);
  const auto whole = run_step(build(of(19001)), {{"g", g}}).at("partials");
  const auto left = run_step(build(of(cut)), {{"g", {g.begin(), g.begin() + cut}}}).at("partials");
  const auto right = run_step(build(of(19001 - cut)), {{"g", {g.begin() + cut, g.end()}}}).at("partials");
  std::vector<double> joined = left;
  joined.insert(joined.end(), right.begin(), right.end());
  EXPECT_EQ(joined, whole);
}

TEST(SqNorm, ShapeIsFlattenedAndPartialsMayBeViews) {
  const Forward forward = [](Builder& b) {
    const BufferId all = b.program.add({.name = "all", .shape = {3}});
    const auto part = [&](const char* name, int64_t offset, int64_t blocks) {
      return b.program.add({.name = name, .shape = {blocks}, .view = View{all, offset}});
    };
    sqnorm(b, b.parameter("a", {3, 5, 7}), part("of_a", 0, 1));
    sqnorm(b, b.parameter("b", {2, 4000}), part("of_b", 1, 2));
  };
  const Program program = build(forward, DType::bf16);
  const Tensors out = run_step(program, random_inputs(program));
  std::vector<double> expected = by_definition(out.at("a"));
  for (const double partial : by_definition(out.at("b"))) expected.push_back(partial);
  expect_near(out.at("all"), expected, 1.001 * unit_roundoff(DType::f32), "all");
}

TEST(SqNorm, NonFiniteValuesReachTheirBlockOnly) {
  std::vector<double> g(3 * kNormBlock, 1.0);
  g[5] = std::nan("");
  g[kNormBlock] = 1e20;  // its square is beyond f32
  const auto partials = run_step(build(of(3 * kNormBlock)), {{"g", g}}).at("partials");
  EXPECT_TRUE(std::isnan(partials[0]));
  EXPECT_TRUE(std::isinf(partials[1]));
  EXPECT_EQ(partials[2], 4096);
}

TEST(SqNorm, Repeatable) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_repeatable(of(100001), random_inputs(build(of(100001))), dtype);
  }
}

}  // namespace
}  // namespace centavo::testing
