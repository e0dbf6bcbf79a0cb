#include "ops/lm_head_loss/lm_head_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/lm_head_loss_cases.h"

namespace centavo::testing {
namespace {

// Every fourth target is not scored.
std::vector<double> targets_of(const Sizes& s) {
  std::vector<double> targets;
  for (int64_t n = 0; n < s.tokens; ++n) targets.push_back(n % 4 == 2 ? -100.0 : static_cast<double>(n * 7 % s.vocab));
  return targets;
}

// Scaled so that logits are of the size of 1.
Tensors inputs_of(const Sizes& s) {
  return {{"h", random_values("h", s.tokens * s.columns)},
          {"weight", random_values("weight", s.vocab * s.columns, 1 / std::sqrt(static_cast<double>(s.columns)))},
          {"targets", targets_of(s)}};
}

TEST(LmHeadLoss, ByHand) {
  // logits (1, 0) with target 0, (0, 1) with target 0; the third token is not scored
  const Tensors in = {{"h", {1, 0, 0, 1, 5, 5}}, {"weight", {1, 0, 0, 1}}, {"targets", {0, 0, -1}}};
  const double e = std::exp(1.0);
  const Tensors out = run_step(build(swept({3, 2, 2, 2}, DType::f64), DType::f64), in);
  EXPECT_DOUBLE_EQ(out.at("loss")[0], std::log(1 + 1 / e) + std::log(1 + e));
  EXPECT_EQ(out.at("count")[0], 2);
  const double p = e / (1 + e);
  const std::vector<double> dh = {p - 1, 1 - p, -p, p, 0, 0};  // the weight is the identity
  const std::vector<double> dweight = {p - 1, -p, 1 - p, p};   // dlogits^T h
  expect_near(out.at("dh0"), dh, 4 * unit_roundoff(DType::f64), "dh");
  expect_near(out.at("dweight"), dweight, 4 * unit_roundoff(DType::f64), "dweight");
}

TEST(LmHeadLoss, Gradients) {
  for (const Sizes s : {Sizes{5, 4, 7, 2}, Sizes{6, 3, 5, 3}, Sizes{3, 1, 2, 8}}) {
    expect_gradients(plain(s), inputs_of(s), {"loss"});
  }
}

TEST(LmHeadLoss, GradientsWhereOneSideIsFrozen) {
  const Sizes s{5, 4, 7, 2};
  for (const bool h_trains : {true, false}) {
    const Forward forward = [=](Builder& b) {
      lm_head_loss(b, b.parameter("h", {s.tokens, s.columns}, h_trains),
                   b.parameter("weight", {s.vocab, s.columns}, !h_trains),
                   b.stream_in("targets", DType::i32, {s.tokens}), s.chunk, "loss", "count");
    };
    expect_gradients(forward, inputs_of(s), {"loss"});
  }
}

TEST(LmHeadLoss, BothOpsGiveTheSameLoss) {
  const Sizes s{37, 33, 1031, 16};
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensors forward = run_step(build(plain(s), dtype), inputs_of(s));
    const Tensors backward = run_step(build(swept(s, DType::f32), dtype), inputs_of(s));
    EXPECT_EQ(forward.at("loss"), backward.at("loss"));
    EXPECT_EQ(forward.at("count"), backward.at("count"));
  }
}

TEST(LmHeadLoss, ChunksChangeTheOrderOfSumsOnly) {
  const Sizes whole{13, 5, 11, 13};
  const Tensors expected = run_step(build(swept(whole, DType::f64), DType::f64), inputs_of(whole));
  for (const int64_t chunk : {1, 4, 6, 12, 99}) {
    Sizes s = whole;
    s.chunk = chunk;
    const Tensors out = run_step(build(swept(s, DType::f64), DType::f64), inputs_of(s));
    for (const char* name : {"loss", "count", "dh0", "dweight"}) {
      // |dlogits| <= 1 and |h| is near the largest: 13 tokens in any order
      expect_near(out.at(name), expected.at(name), 4 * 13 * 13 * unit_roundoff(DType::f64), name);
    }
  }
}

TEST(LmHeadLoss, UnscoredTokensAddNothing) {
  const Sizes s{4, 3, 6, 3};
  Tensors in = inputs_of(s);
  in["targets"] = {-1, -100, 6, -2};  // 6 is no id of the vocabulary
  const Tensors out = run_step(build(swept(s, DType::f32)), in);
  EXPECT_EQ(out.at("loss")[0], 0);
  EXPECT_EQ(out.at("count")[0], 0);
  EXPECT_EQ(out.at("dh0"), std::vector<double>(12, 0.0));
  EXPECT_EQ(out.at("dweight"), std::vector<double>(18, 0.0));
}

TEST(LmHeadLoss, AddsToWhatIsThere) {
  const Sizes s{7, 5, 9, 3};
  const Tensors once = run_step(build(swept(s, DType::f64, 1), DType::f64), inputs_of(s));
  const Tensors twice = run_step(build(swept(s, DType::f64, 2), DType::f64), inputs_of(s));
  EXPECT_EQ(twice.at("count")[0], 2 * once.at("count")[0]);
  EXPECT_EQ(twice.at("dh1"), once.at("dh0"));
  for (const char* name : {"loss", "dweight"}) {
    std::vector<double> doubled = once.at(name);
    for (double& value : doubled) value *= 2;
    expect_near(twice.at(name), doubled, 2 * 7 * 7 * unit_roundoff(DType::f64), name);
  }
}

TEST(LmHeadLoss, LargeLogitsDoNotOverflow) {
  // logits (2000, 0): the loss of target 1 is 2000, that of target 0 is 0
  const Tensors in = {{"h", {2000, 2000}}, {"weight", {1, 0}}, {"targets", {1, 0}}};
  const Tensors out = run_step(build(swept({2, 1, 2, 2}, DType::f32)), in);
  EXPECT_EQ(out.at("loss")[0], 2000);
  EXPECT_EQ(out.at("dweight"), (std::vector<double>{2000, -2000}));
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::fabs(value));
  return most;
}

// The contract's bounds, absolute, for inputs rounded to `dtype` (which moves their size by less than 1 %).
struct Bounds {
  double loss, dh, dweight;
};

Bounds bounds_of(const Sizes& s, DType dtype, const Tensors& in) {
  const double u = unit_roundoff(DType::f32);
  const auto tokens = static_cast<double>(s.tokens);
  const auto columns = static_cast<double>(s.columns);
  const double h = 1.01 * largest(in.at("h"));
  const double weight = 1.01 * largest(in.at("weight"));
  const double e = columns * u * columns * h * weight;
  const double rounding = dtype == DType::f32 ? 0.0 : 2 * unit_roundoff(dtype);
  const double dlogits = 2 * e + 1040 * u + rounding;  // sum over v of the error of a row
  // A row of dlogits sums to 2 at most, and is multiplied in a product of length V (dh) or N (dweight).
  return {.loss = tokens * (2 * e + 520 * u),
          .dh = (dlogits + 2 * static_cast<double>(s.vocab) * u) * weight,
          .dweight = tokens * (dlogits + tokens * u) * h};
}

// The worst case of the accumulator, as a share of the largest value of the exact result, plus roundings to the output.
void expect_within_bounds(const Sizes& s, DType dtype, DType gradient) {
  const Tensors in = inputs_of(s);
  const Tensors exact = run_step(build(swept(s, gradient), DType::f64), in);
  const Bounds bounds = bounds_of(s, dtype, in);
  const auto share = [&](double bound, const char* name) {
    const double size = largest(exact.at(name));
    return size == 0 ? 0.0 : 1.01 * bound / size;
  };
  const Forward forward = swept(s, gradient);
  expect_close_to_f64(forward, in, dtype, {"loss"}, share(bounds.loss, "loss") + unit_roundoff(DType::f32));
  expect_close_to_f64(forward, in, dtype, {"dh0"}, share(bounds.dh, "dh0") + unit_roundoff(dtype));
  expect_close_to_f64(forward, in, dtype, {"dweight"}, share(bounds.dweight, "dweight") + unit_roundoff(gradient));
  expect_close_to_f64(forward, in, dtype, {"count"}, 0.0);
}

TEST(LmHeadLoss, EveryDtypeAndAwkwardSize) {
  for (const int64_t size : {1, 31, 32, 33, 127, 4096}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const DType gradient : {DType::f32, DType::bf16}) {
        expect_within_bounds({7, 33, size, 3}, dtype, gradient);  // vocabulary
        expect_within_bounds({7, size, 33, 7}, dtype, gradient);  // columns
      }
    }
  }
  for (const int64_t tokens : {1, 31, 32, 33, 127}) expect_within_bounds({tokens, 17, 65, 32}, DType::f32, DType::f32);
}

TEST(LmHeadLoss, RepeatableForAGivenNumberOfThreads) {
  const Sizes s{65, 33, 1031, 24};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Program program = build(swept(s, dtype), dtype);
    for (const int threads : {1, 2, 3}) {
      EXPECT_EQ(run_step(program, inputs_of(s), threads), run_step(program, inputs_of(s), threads));
    }
  }
}

TEST(LmHeadLoss, ThreadsChangeNoBitWhereProductsDoNot) {
  // In f64 the products are plain loops.
  const Sizes s{65, 33, 1031, 24};
  expect_repeatable(plain(s), inputs_of(s), DType::f64);
  expect_repeatable(swept(s, DType::f64, 2), inputs_of(s), DType::f64);
}

TEST(LmHeadLoss, RejectsShapes) {
  const auto loss_of = [](const Shape& h, const Shape& weight, int64_t targets, int64_t chunk) -> Forward {
    return [=](Builder& b) {
      lm_head_loss(b, b.parameter("h", h), b.parameter("weight", weight), b.stream_in("targets", DType::i32, {targets}),
                   chunk, "loss", "count");
    };
  };
  expect_shape_error(loss_of({6}, {5, 6}, 6, 2), "h must be [N, C]");
  expect_shape_error(loss_of({2, 3}, {5, 4}, 2, 2), "weight must be [V, 3]");
  expect_shape_error(loss_of({2, 3}, {5, 3}, 3, 2), "targets must be [2]");
  expect_shape_error(loss_of({2, 3}, {5, 3}, 2, 0), "chunk must be 1");
}

}  // namespace
}  // namespace centavo::testing
