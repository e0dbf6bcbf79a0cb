#include "ops/cast/cast.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward nearest(DType from, DType to, int64_t count) {
  return [=](Builder& b) {
    cast(b, b.control("y", to, {count}), b.stream_in("x", from, {count}), "nearest", kNone, kNone);
  };
}

Forward stochastic(int64_t count, const std::optional<Shard>& shard = std::nullopt) {
  return [=](Builder& b) {
    const BufferId y = b.control("y", DType::bf16, {count});
    b.program.buffer(y).shard = shard;
    const BufferId seed = b.stream_in("seed", DType::i64, {1});
    const BufferId step = b.stream_in("step", DType::i64, {1});
    cast(b, y, b.stream_in("x", DType::f32, {count}), "stochastic", seed, step);
  };
}

std::vector<double> draw(const Forward& forward, const std::vector<double>& x, double seed, double step) {
  return run_step(build(forward), {{"x", x}, {"seed", {seed}}, {"step", {step}}}).at("y");
}

TEST(Cast, NearestByHand) {
  // bf16 has 8 bits: 1 + 2^-8 and 1 + 3 * 2^-8 are ties
  const Tensors in = {{"x", {1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x1.1p-8, -3.0, INFINITY, -0.0}}};
  const std::vector<double> expected = {1, 1 + 0x4p-8, 1 + 0x2p-8, -3.0, INFINITY, -0.0};
  EXPECT_EQ(run_step(build(nearest(DType::f32, DType::bf16, 6)), in).at("y"), expected);
  EXPECT_EQ(run_step(build(nearest(DType::f32, DType::f64, 6)), in).at("y"), in.at("x"));
}

TEST(Cast, NanStays) {
  for (const DType to : {DType::f64, DType::f32, DType::bf16}) {
    EXPECT_TRUE(std::isnan(run_step(build(nearest(DType::f32, to, 1)), {{"x", {std::nan("")}}}).at("y")[0]));
  }
}

TEST(Cast, EveryPairAndAwkwardSize) {
  const std::vector<DType> types = {DType::f64, DType::f32, DType::bf16};
  for (const DType from : types) {
    for (const DType to : types) {
      for (const int64_t count : {1, 31, 32, 33, 127, 4096, 40001}) {
        const Program program = build(nearest(from, to, count));
        const Tensors out = run_step(program, random_inputs(program));
        const double bound = size_of(to) < size_of(from) ? 1.01 * unit_roundoff(to) : 0.0;
        expect_near(out.at("y"), out.at("x"), bound, fmt::format("{} to {}", name_of(from), name_of(to)));
      }
    }
  }
}

TEST(Cast, StochasticFollowsItsStream) {
  constexpr int64_t kCount = 1500;
  const std::vector<double> x = random_values("x", kCount);
  const RandomStream stream =
      random_stream(7, 3, 0, static_cast<uint32_t>(build(stochastic(kCount)).sections[0].ops[0].logical));
  std::vector<double> expected;
  for (size_t i = 0; i < x.size(); ++i) {
    expected.push_back(static_cast<float>(stochastic_round(static_cast<float>(x[i]), stream.draw16(0, i))));
  }
  EXPECT_EQ(draw(stochastic(kCount), x, 7, 3), expected);
  EXPECT_NE(draw(stochastic(kCount), x, 7, 4), expected);
  EXPECT_NE(draw(stochastic(kCount), x, 8, 3), expected);
}

TEST(Cast, StochasticIsUnbiased) {
  constexpr int64_t kCount = 1 << 16;
  const double low = 1.0;
  const double high = 1 + 0x1p-7;
  const std::vector<double> y = draw(stochastic(kCount), std::vector<double>(kCount, 1 + 0x1p-9), 1, 0);
  double ups = 0;
  for (const double value : y) {
    EXPECT_TRUE(value == low || value == high) << value;
    ups += value == high ? 1 : 0;
  }
  // A quarter of the way up; five standard deviations of a binomial
  EXPECT_NEAR(ups / kCount, 0.25, 5 * std::sqrt(0.25 * 0.75 / kCount));
}

// The shard begins inside a group of elements that share a call of Philox.
TEST(Cast, AShardDrawsWhatTheWholeWould) {
  const std::vector<double> x = random_values("x", 2006);
  const std::vector<double> whole = draw(stochastic(2006), x, 5, 6);
  const std::vector<double> part = draw(stochastic(1003, Shard{"data", 1, 2}), {x.begin() + 1003, x.end()}, 5, 6);
  EXPECT_EQ(part, std::vector<double>(whole.begin() + 1003, whole.end()));
}

TEST(Cast, Repeatable) {
  expect_repeatable(nearest(DType::f32, DType::bf16, 70001), {{"x", random_values("x", 70001)}}, DType::f32);
  expect_repeatable(stochastic(4001), {{"x", random_values("x", 4001)}, {"seed", {9}}, {"step", {2}}}, DType::f32);
}

TEST(Cast, RejectsOperands) {
  const auto with = [](DType from, const std::string& rounding, bool seeded, int64_t seeds = 1) {
    return [=](Builder& b) {
      const BufferId y = b.control("y", DType::bf16, {4});
      const BufferId seed = seeded ? b.stream_in("seed", DType::i64, {seeds}) : kNone;
      const BufferId step = seeded ? b.stream_in("step", DType::i64, {1}) : kNone;
      cast(b, y, b.stream_in("x", from, {4}), rounding, seed, step);
    };
  };
  expect_shape_error(with(DType::f32, "stochastic", false), "needs seed and step");
  expect_shape_error(with(DType::f32, "nearest", true), "takes no seed");
  expect_shape_error(with(DType::f64, "stochastic", true), "from f32 to bf16");
  expect_shape_error(with(DType::f32, "stochastic", true, 2), "seed must be [1]");
  expect_shape_error(with(DType::f32, "up", false), "rounding must be nearest or stochastic");
}

}  // namespace
}  // namespace centavo::testing
