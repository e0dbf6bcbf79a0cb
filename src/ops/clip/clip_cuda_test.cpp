#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/clip/clip.h"
#include "tests/support/cuda_check.h"

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

Tensors squares(int64_t count) {
  Tensors in = {{"partials", random_values("partials", count)}, {"loss", {12345.5}}, {"count", {777}}};
  for (double& partial : in["partials"]) partial *= partial;
  return in;
}

TEST(ClipCuda, HasTheBitsOfTheCpu) {
  NEEDS_GPU();
  for (const int64_t count : {1, 31, 33, 127, 4096, 70001, 1800001}) {
    for (const double max_norm : {0.0, 1e-3, 1.0}) {
      SCOPED_TRACE(fmt::format("{} partials, max_norm {}", count, max_norm));
      for (const DType loss : {DType::f32, DType::f64}) {
        expect_cuda_equals_cpu(of(count, max_norm, loss), squares(count), DType::f32, {"scale", "finite", "metrics"});
      }
    }
  }
}

TEST(ClipCuda, PartialsAreAddedAsATree) {
  NEEDS_GPU();
  const double big = std::ldexp(1.0, 60);
  const auto norm_of = [](const std::vector<double>& partials) {
    const Program program = build(of(static_cast<int64_t>(partials.size()), 0));
    return run_step_cuda(program, {{"partials", partials}, {"loss", {0}}, {"count", {1}}}).at("metrics")[1];
  };
  EXPECT_EQ(norm_of({big, -big, 1}), 1);
  EXPECT_EQ(norm_of({1, big, -big}), 0);
  EXPECT_EQ(norm_of({1, 0, 0, 0, big, -big, 3}), 2);
}

TEST(ClipCuda, NonFiniteOrEmptyStepScalesWithZero) {
  NEEDS_GPU();
  const auto run = [](const std::vector<double>& partials, double loss, double count) {
    return run_step_cuda(build(of(2, 1)), {{"partials", partials}, {"loss", {loss}}, {"count", {count}}});
  };
  for (const Tensors& out : {run({1, kInfinity}, 1, 5), run({std::nan(""), 1}, 1, 5), run({1, 1}, kInfinity, 5),
                             run({1, 1}, std::nan(""), 5), run({1, 1}, 1, 0), run({1, 1}, 1, -1)}) {
    EXPECT_EQ(out.at("finite")[0], 0);
    EXPECT_EQ(out.at("scale")[0], 0);
    EXPECT_EQ(out.at("metrics")[3], 0);
  }
}

TEST(ClipCuda, Repeatable) {
  NEEDS_GPU();
  expect_cuda_repeatable(of(4099, 1), squares(4099), DType::f32, {}, {.replayed = true});
}

}  // namespace
}  // namespace centavo::testing
