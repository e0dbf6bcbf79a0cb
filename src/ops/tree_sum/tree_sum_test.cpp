#include "ops/tree_sum/tree_sum.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/tree_sum/binary_tree.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward of(int64_t elements, const TreeWindow& window) {
  return [=](Builder& b) { tree_sum(b, b.stream_in("partials", DType::f32, {elements}), "sum", window); };
}

double sum_of(const std::vector<double>& partials, const TreeWindow& window) {
  const auto n = static_cast<int64_t>(partials.size());
  return run_step(build(of(n, window)), {{"partials", partials}}).at("sum")[0];
}

std::vector<double> squares(int64_t n) {
  std::vector<double> values = random_values("partials", n);
  for (double& value : values) value = static_cast<double>(static_cast<float>(value * value));
  return values;
}

TEST(TreeSum, ByHand) {
  EXPECT_EQ(sum_of({1, 2, 4, 8, 16, 32}, {.parts = 1, .stride = 0, .begin = 1, .count = 3}), 14);
  EXPECT_EQ(sum_of({1, 2, 4, 8, 16, 32}, {.parts = 2, .stride = 3, .begin = 1, .count = 2}), 2 + 4 + 16 + 32);
  EXPECT_EQ(sum_of({1}, {.count = 0}), 0);
}

TEST(TreeSum, IsTheTreeAndNothingElse) {
  const double tiny = 0x1p-53;  // lost when added to 1 alone, kept when added to its like first
  const double leaves[] = {1, tiny, tiny, tiny};
  EXPECT_EQ(tree_sum(4, [&](int64_t i) { return leaves[i]; }), (1 + tiny) + (tiny + tiny));
  EXPECT_NE((1 + tiny) + (tiny + tiny), ((1 + tiny) + tiny) + tiny);
}

TEST(TreeSum, CutsAndZerosBehindChangeNoBit) {
  for (const int64_t blocks : {1, 3, 8, 13, 100}) {
    const std::vector<double> whole = squares(blocks);
    const double expected = sum_of(whole, {.count = blocks});
    for (const int64_t parts : {1, 2, 3, 4, 7}) {
      const int64_t count = (blocks + parts - 1) / parts;
      std::vector<double> cut;  // each part between others' partials
      for (int64_t p = 0; p < parts; ++p) {
        cut.push_back(99);
        for (int64_t j = 0; j < count; ++j) {
          const int64_t at = p * count + j;
          cut.push_back(at < blocks ? whole[static_cast<size_t>(at)] : 0);
        }
        cut.push_back(77);
      }
      EXPECT_EQ(sum_of(cut, {.parts = parts, .stride = count + 2, .begin = 1, .count = count}), expected)
          << blocks << " in " << parts;
    }
  }
}

TEST(TreeSum, OneRounding) {
  const std::vector<double> partials = squares(4097);
  long double exact = 0;
  for (const double value : partials) exact += value;
  EXPECT_NEAR(sum_of(partials, {.count = 4097}), static_cast<double>(exact),
              1.001 * unit_roundoff(DType::f32) * static_cast<double>(exact));
}

TEST(TreeSum, NonFiniteStays) {
  EXPECT_TRUE(std::isnan(sum_of({1, std::nan(""), 2}, {.count = 3})));
  EXPECT_TRUE(std::isinf(sum_of({3e38, 3e38}, {.count = 2})));
}

TEST(TreeSum, Rejects) {
  expect_shape_error(of(6, {.parts = 2, .stride = 3, .begin = 1, .count = 3}), "do not lie inside 6 partials");
  expect_shape_error(of(6, {.parts = 0, .count = 1}), "parts must be at least 1");
  expect_shape_error(of(6, {.begin = -1, .count = 1}), "no attribute negative");
}

}  // namespace
}  // namespace centavo::testing
