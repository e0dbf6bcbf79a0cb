#include "ops/clip/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Forward of(int64_t partials, double max_norm, DType loss = DType::f32) {
  return [=](Builder& b) {
    const ClipInputs in = {.partials = b.stream_in("partials", DType::f32, {partials}),
                           .loss = b.stream_in("loss", loss, {1}),
                           .count = b.stream_in("count", DType::i32, {1})};
    clip(b, in, {.scale = "scale", .finite = "finite", .metrics = "metrics"}, max_norm);
  };
}

Tensors run(const std::vector<double>& partials, double loss, double count, double max_norm = 0) {
  return run_step(build(of(static_cast<int64_t>(partials.size()), max_norm)),
                  {{"partials", partials}, {"loss", {loss}}, {"count", {count}}});
}

double norm_of(const std::vector<double>& partials) { return run(partials, 0, 1).at("metrics")[1]; }

double rounded(double x) { return static_cast<float>(x); }

TEST(Clip, ByHand) {
  // norm = sqrt(9 + 16) / 5 = 1, loss / tokens = 2
  const Tensors out = run({9, 16}, 10, 5);
  EXPECT_EQ(out.at("metrics"), (std::vector<double>{2, 1, 5, 1}));
  EXPECT_EQ(out.at("scale")[0], rounded(0.2));
  EXPECT_EQ(out.at("finite")[0], 1);
}

TEST(Clip, ClipsOnlyAboveMaxNorm) {
  EXPECT_EQ(run({9, 16}, 10, 5, 0.5).at("scale")[0], rounded(0.5 / (1 + 1e-6) / 5));
  EXPECT_EQ(run({9, 16}, 10, 5, 2).at("scale")[0], rounded(0.2));
  EXPECT_EQ(run({9, 16}, 10, 5, 0.5).at("metrics")[1], 1) << "the norm before clipping is reported";
  EXPECT_EQ(run({0}, 10, 5, 1).at("scale")[0], rounded(0.2));
}

TEST(Clip, NonFiniteOrEmptyStepScalesWithZero) {
  for (const Tensors& out : {run({1, kInfinity}, 1, 5), run({std::nan(""), 1}, 1, 5), run({1, 1}, kInfinity, 5),
                             run({1, 1}, std::nan(""), 5), run({1, 1}, 1, 0), run({1, 1}, 1, -1)}) {
    EXPECT_EQ(out.at("finite")[0], 0);
    EXPECT_EQ(out.at("scale")[0], 0);
    EXPECT_EQ(out.at("metrics")[3], 0);
  }
}

TEST(Clip, PartialsAreAddedAsATree) {
  // `big` swallows a 1 beside it in f64, so the result tells who was added to whom.
  const double big = std::ldexp(1.0, 60);
  EXPECT_EQ(norm_of({big, -big, 1}), 1);
  EXPECT_EQ(norm_of({1, big, -big}), 0);
  EXPECT_EQ(norm_of({big, 1, -big, 1}), 0);
  EXPECT_EQ(norm_of({big, -big, 2, 2}), 2);
  // seven are eight with a zero at the end
  EXPECT_EQ(norm_of({1, 0, 0, 0, big, -big, 3}), 2);
  EXPECT_EQ(norm_of({1, 0, 0, 0, big, -big, 3, 0}), 2);
}

TEST(Clip, AwkwardSizes) {
  for (const int64_t count : {1, 31, 32, 33, 127, 4096, 70001}) {
    Tensors in = {{"partials", random_values("partials", count)}, {"loss", {12345.5}}, {"count", {777}}};
    long double sum = 0;
    for (double& partial : in["partials"]) {
      partial = rounded(partial * partial);
      sum += partial;
    }
    const Tensors out = run_step(build(of(count, 0, DType::f64)), in);
    const double norm = static_cast<double>(std::sqrt(sum)) / 777;
    // the f64 error vanishes beside the one rounding to f32
    expect_near({out.at("metrics")[1]}, {norm}, 1.001 * unit_roundoff(DType::f32), "norm");
    EXPECT_EQ(out.at("metrics")[0], rounded(12345.5 / 777));
  }
}

TEST(Clip, Repeatable) {
  Tensors in = {{"partials", random_values("partials", 4099)}, {"loss", {3}}, {"count", {9}}};
  for (double& partial : in["partials"]) partial *= partial;
  expect_repeatable(of(4099, 1), in, DType::f32);
}

TEST(Clip, Rejects) {
  const auto with = [](const Shape& partials, const Shape& loss, const Shape& count, double max_norm) -> Forward {
    return [=](Builder& b) {
      clip(b,
           {b.stream_in("partials", DType::f32, partials), b.stream_in("loss", DType::f32, loss),
            b.stream_in("count", DType::i32, count)},
           {"scale", "finite", "metrics"}, max_norm);
    };
  };
  expect_shape_error(with({2, 2}, {1}, {1}, 0), "partials must be [P]");
  expect_shape_error(with({4}, {2}, {1}, 0), "loss must be [1]");
  expect_shape_error(with({4}, {1}, {2}, 0), "count must be [1]");
  expect_shape_error(with({4}, {1}, {1}, -1), "max_norm must be 0");
}

}  // namespace
}  // namespace centavo::testing
