#include "ops/collective/member_sum.h"

#include <gtest/gtest.h>

#include <vector>

namespace centavo::testing {
namespace {

template <class T>
std::vector<T> summed(const std::vector<std::vector<T>>& members, std::vector<T> y, Bind bind, DType dtype) {
  std::vector<const std::byte*> addresses;
  for (const auto& member : members) addresses.push_back(reinterpret_cast<const std::byte*>(member.data()));
  const auto n = static_cast<int64_t>(y.size());
  member_sum(dtype, addresses, n, reinterpret_cast<std::byte*>(y.data()), bind);
  return y;
}

float value(size_t member, size_t i) { return 1.0F / static_cast<float>(3 + member * 7 + i % 251); }

TEST(MemberSum, TheTreesOfTheContract) {
  for (const size_t n : {1, 255, 256, 257, 50000}) {
    std::vector<std::vector<float>> x(5, std::vector<float>(n));
    for (size_t k = 0; k < x.size(); ++k) {
      for (size_t i = 0; i < n; ++i) x[k][i] = value(k, i);
    }
    const auto of = [&](size_t members) {
      return summed<float>({x.begin(), x.begin() + static_cast<int64_t>(members)}, std::vector<float>(n), Bind::write,
                           DType::f32);
    };
    const auto y1 = of(1), y2 = of(2), y3 = of(3), y4 = of(4), y5 = of(5);
    for (size_t i = 0; i < n; ++i) {
      const float a = x[0][i], b = x[1][i], c = x[2][i], d = x[3][i], e = x[4][i];
      ASSERT_EQ(y1[i], a);
      ASSERT_EQ(y2[i], a + b);
      ASSERT_EQ(y3[i], (a + b) + c);
      ASSERT_EQ(y4[i], (a + b) + (c + d));
      ASSERT_EQ(y5[i], ((a + b) + (c + d)) + e);
    }
  }
}

TEST(MemberSum, RoundsOnce) {
  const bf16 one(1.0F), small(0.00390625F);  // half of bf16's step at 1
  EXPECT_EQ(static_cast<float>(summed<bf16>({{one}, {small}, {small}}, {bf16()}, Bind::write, DType::bf16)[0]),
            1.0078125F);
  EXPECT_EQ(static_cast<float>(summed<bf16>({{small}, {small}}, {one}, Bind::add, DType::bf16)[0]), 1.0078125F);
}

TEST(MemberSum, IntegersAreExact) {
  const int64_t large = (int64_t{1} << 60) + 1;
  EXPECT_EQ(summed<int64_t>({{large}, {-3}, {large}}, {0}, Bind::write, DType::i64)[0], 2 * large - 3);
  EXPECT_EQ(summed<int32_t>({{-7}, {2147483647}}, {5}, Bind::add, DType::i32)[0], 2147483645);
}

TEST(MemberSum, TypesWithASum) {
  EXPECT_TRUE(has_member_sum(DType::bf16));
  EXPECT_TRUE(has_member_sum(DType::i32));
  EXPECT_FALSE(has_member_sum(DType::f8e4m3));
  EXPECT_FALSE(has_member_sum(DType::u8));
}

}  // namespace
}  // namespace centavo::testing
