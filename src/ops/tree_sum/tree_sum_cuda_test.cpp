#include <gtest/gtest.h>

#include <cmath>

#include "ops/tree_sum/tree_sum.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

Forward of(int64_t elements, const TreeWindow& window) {
  return [=](Builder& b) { tree_sum(b, b.stream_in("partials", DType::f32, {elements}), "sum", window); };
}

// Numbers of many magnitudes and both signs, so that another order gives other bits.
std::vector<double> spread(int64_t n) {
  std::vector<double> values = random_values("partials", n);
  for (double& value : values) value = static_cast<double>(static_cast<float>(value * std::exp2(20 * value)));
  return values;
}

void expect_equals_cpu(int64_t elements, const TreeWindow& window) {
  SCOPED_TRACE(fmt::format("{} parts of {} of {}", window.parts, window.count, elements));
  expect_cuda_equals_cpu(of(elements, window), {{"partials", spread(elements)}}, DType::f32, {"sum"});
}

TEST(TreeSumCuda, HasTheBitsOfTheCpu) {
  NEEDS_GPU();
  for (const int64_t n : {1, 2, 3, 15, 16, 17, 31, 33, 127, 511, 513, 4095, 4096, 4097, 8193, 70001, 1800001}) {
    expect_equals_cpu(n, {.count = n});
  }
  expect_equals_cpu(10, {.count = 0});
}

TEST(TreeSumCuda, ThreeLevels) {
  NEEDS_GPU();
  const int64_t n = 4096 * 4096 + 5;
  expect_equals_cpu(n, {.count = n});
}

TEST(TreeSumCuda, Windows) {
  NEEDS_GPU();
  for (const int64_t parts : {1, 2, 3, 7}) {
    for (const int64_t count : {1, 13, 4096, 5001}) {
      expect_equals_cpu(parts * (count + 5), {.parts = parts, .stride = count + 5, .begin = 3, .count = count});
    }
  }
}

TEST(TreeSumCuda, Repeatable) {
  NEEDS_GPU();
  const Tensors in = {{"partials", spread(70001)}};
  expect_cuda_repeatable(of(70001, {.count = 70001}), in, DType::f32, {}, {.replayed = true});
}

TEST(TreeSumCuda, NonFiniteStays) {
  NEEDS_GPU();
  const auto sum = [](const std::vector<double>& partials) {
    const auto n = static_cast<int64_t>(partials.size());
    return run_step_cuda(build(of(n, {.count = n})), {{"partials", partials}}).at("sum")[0];
  };
  EXPECT_TRUE(std::isnan(sum({1, std::nan(""), 2})));
  EXPECT_TRUE(std::isinf(sum({3e38, 3e38})));
}

}  // namespace
}  // namespace centavo::testing
