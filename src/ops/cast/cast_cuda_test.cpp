#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/cast/cast.h"
#include "tests/support/cuda_check.h"

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

Tensors drawn(int64_t count, double seed, double step) {
  return {{"x", random_values("x", count)}, {"seed", {seed}}, {"step", {step}}};
}

TEST(CastCuda, EveryPairAndAwkwardSize) {
  NEEDS_GPU();
  const std::vector<DType> types = {DType::f32, DType::bf16};
  for (const DType from : types) {
    for (const DType to : types) {
      for (const int64_t count : {1, 31, 32, 33, 127, 4096, 40001, 1 << 20}) {
        const Forward forward = nearest(from, to, count);
        expect_cuda_equals_cpu(forward, random_inputs(build(forward)), DType::f32, {"y"});
      }
    }
  }
}

TEST(CastCuda, TiesInfinitiesAndNan) {
  NEEDS_GPU();
  // bf16 has 8 bits: 1 + 2^-8 and 1 + 3 * 2^-8 are ties
  const Forward forward = nearest(DType::f32, DType::bf16, 8);
  const Tensors in = {{"x", {1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x1.1p-8, -3.0, INFINITY, -0.0, 0x1.fffp127, 0x1p-140}}};
  expect_cuda_equals_cpu(forward, in, DType::f32, {"y"});
  const Tensors out = run_step_cuda(build(forward), {{"x", std::vector<double>(8, std::nan(""))}});
  for (const double y : out.at("y")) EXPECT_TRUE(std::isnan(y));
}

TEST(CastCuda, StochasticDrawsTheSameBits) {
  NEEDS_GPU();
  for (const int64_t count : {1, 31, 33, 127, 4096, 70001}) {
    expect_cuda_equals_cpu(stochastic(count), drawn(count, 7, 3), DType::f32, {"y"});
  }
  // wide seeds and steps
  expect_cuda_equals_cpu(stochastic(500), drawn(500, 0x1p52 + 5, 0x1p40 + 1), DType::f32, {"y"});
  Tensors far = drawn(4, 1, 2);
  const double infinity = std::numeric_limits<double>::infinity();
  far["x"] = {infinity, -infinity, 0x1.fffffep127, -0.0};
  expect_cuda_equals_cpu(stochastic(4), far, DType::f32, {"y"});
}

TEST(CastCuda, AShardDrawsWhatTheWholeWould) {
  NEEDS_GPU();
  for (const int64_t count : {1000, 1003, 1006}) {
    expect_cuda_equals_cpu(stochastic(count, Shard{"data", 1, 2}), drawn(count, 5, 6), DType::f32, {"y"});
  }
}

TEST(CastCuda, Repeatable) {
  NEEDS_GPU();
  expect_cuda_repeatable(nearest(DType::f32, DType::bf16, 70001), {{"x", random_values("x", 70001)}}, DType::f32);
  expect_cuda_repeatable(stochastic(4001), drawn(4001, 9, 2), DType::f32);
}

}  // namespace
}  // namespace centavo::testing
