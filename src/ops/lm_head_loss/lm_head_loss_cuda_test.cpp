#include <gtest/gtest.h>

#include <cmath>

#include "ops/lm_head_loss/lm_head_loss.h"
#include "tests/support/cuda_check.h"
#include "tests/support/lm_head_loss_cases.h"

namespace centavo::testing {
namespace {

// Every fourth target is not scored.
std::vector<double> targets_of(const Sizes& s) {
  std::vector<double> targets;
  for (int64_t n = 0; n < s.tokens; ++n) {
    targets.push_back(n % 4 == 2 ? -100.0 : static_cast<double>((n * 7919 + s.vocab - 1) % s.vocab));
  }
  return targets;
}

// Scaled so that logits are of the size of 1; exact in `dtype`.
Tensors inputs_of(const Sizes& s, DType dtype = DType::bf16) {
  Tensors in = {{"h", random_values("h", s.tokens * s.columns)},
                {"weight", random_values("weight", s.vocab * s.columns, 1 / std::sqrt(static_cast<double>(s.columns)))},
                {"targets", targets_of(s)}};
  for (const char* name : {"h", "weight"}) {
    for (double& value : in.at(name)) {
      const auto single = static_cast<float>(value);
      value = dtype == DType::bf16 ? convert<double>(bf16(single)) : static_cast<double>(single);
    }
  }
  return in;
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::fabs(value));
  return most;
}

// |a - b| <= allowed; names the worst index.
void expect_apart(const std::vector<double>& a, const std::vector<double>& b, double allowed, const std::string& what) {
  const double size = largest(b);
  expect_near(a, b, size == 0 ? 0.0 : allowed / size, what);
}

double largest_logit(const Sizes& s, const Tensors& in) {
  const double* h = in.at("h").data();
  const double* weight = in.at("weight").data();
  double most = 0;
  for (int64_t n = 0; n < s.tokens; ++n) {
    for (int64_t v = 0; v < s.vocab; ++v) {
      double logit = 0;
      for (int64_t c = 0; c < s.columns; ++c) logit += h[n * s.columns + c] * weight[v * s.columns + c];
      most = std::max(most, std::fabs(logit));
    }
  }
  return most;
}

struct Bounds {
  double loss, dh, dweight;
};

// The contract's bounds, absolute.
Bounds bounds_of(const Sizes& s, DType dtype, const Tensors& in) {
  const double u = unit_roundoff(DType::f32);
  const auto tokens = static_cast<double>(s.tokens);
  const auto columns = static_cast<double>(s.columns);
  const double h = largest(in.at("h"));
  const double weight = largest(in.at("weight"));
  const double e = (columns + 8) * u * columns * h * weight;
  const double r = dtype == DType::f32 ? 0.0 : unit_roundoff(dtype) * largest_logit(s, in);
  const double rounding = dtype == DType::f32 ? 0.0 : 2 * unit_roundoff(dtype);
  const double dlogits = 2 * e + 2 * r + 1040 * u + rounding;  // sum over v of the error of a row
  // A row of dlogits sums to 2 at most, and is multiplied in a product of length V (dh) or N (dweight).
  return {.loss = tokens * (2 * e + 2 * r + 520 * u),
          .dh = (dlogits + 2 * static_cast<double>(s.vocab + 8) * u) * weight,
          .dweight = tokens * (dlogits + (tokens + 8) * u) * h};
}

// The worst case plus the roundings to the output, op by op and replayed.
void expect_within_bounds(const Sizes& s, DType dtype, DType gradient, int calls = 1) {
  const Tensors in = inputs_of(s, dtype);
  const Forward forward = swept(s, gradient, calls);
  const Tensors exact = run_step(build(forward, DType::f64), in);
  const Bounds bounds = bounds_of(s, dtype, in);
  const auto allowed = [&](const char* name, double bound, DType output, int roundings) {
    return 1.01 * (bound + roundings * unit_roundoff(output) * largest(exact.at(name)));
  };
  for (const bool replayed : {false, true}) {
    const Tensors out = run_step_cuda(build(forward, dtype), in, {.replayed = replayed});
    const auto expect = [&](const char* name, double most) {
      expect_apart(out.at(name), exact.at(name), most,
                   fmt::format("{} {} of {} x {} x {} in chunks of {}{}", name_of(dtype), name, s.tokens, s.columns,
                               s.vocab, s.chunk, replayed ? ", replayed" : ""));
    };
    expect("loss", allowed("loss", calls * bounds.loss, DType::f32, calls));
    expect("dh0", allowed("dh0", bounds.dh, dtype, 1));
    expect("dweight", allowed("dweight", calls * bounds.dweight, gradient, calls));
    expect("count", 0.0);
  }
}

TEST(LmHeadLossCuda, ByHand) {
  NEEDS_GPU();
  // logits (1, 0) with target 0, (0, 1) with target 0; the third token is not scored
  const Tensors in = {{"h", {1, 0, 0, 1, 5, 5}}, {"weight", {1, 0, 0, 1}}, {"targets", {0, 0, -1}}};
  const double e = std::exp(1.0);
  const double p = e / (1 + e);
  const std::vector<double> dh = {p - 1, 1 - p, -p, p, 0, 0};  // the weight is the identity
  const std::vector<double> dweight = {p - 1, -p, 1 - p, p};   // dlogits^T h
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors out = run_step_cuda(build(swept({3, 2, 2, 2}, dtype), dtype), in);
    const double u = unit_roundoff(DType::f32);
    const double roundings = 2 * unit_roundoff(dtype) + 16 * u;  // of dlogits and of the output
    expect_near(out.at("loss"), {std::log(1 + 1 / e) + std::log(1 + e)}, 16 * u, "loss");
    EXPECT_EQ(out.at("count")[0], 2);
    expect_near(out.at("dh0"), dh, roundings, "dh");
    expect_near(out.at("dweight"), dweight, roundings, "dweight");
  }
}

TEST(LmHeadLossCuda, EveryDtypeAndAwkwardSize) {
  NEEDS_GPU();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const DType gradient : {DType::f32, DType::bf16}) {
      for (const int64_t vocab : {1, 31, 32, 33, 127, 4096}) expect_within_bounds({7, 33, vocab, 3}, dtype, gradient);
      for (const int64_t columns : {1, 31, 127, 4096}) expect_within_bounds({7, columns, 33, 7}, dtype, gradient);
    }
    for (const int64_t tokens : {1, 31, 32, 33, 127}) expect_within_bounds({tokens, 17, 65, 32}, dtype, DType::f32);
  }
}

// A row held by 1, 2, 4 and 8 blocks, and one that no cluster holds, of each element type.
TEST(LmHeadLossCuda, EveryCutOfARow) {
  NEEDS_GPU();
  for (const int64_t vocab : {16001, 32768, 32769, 50257, 100003, 128256, 152064, 262144, 262147}) {
    for (const DType dtype : {DType::f32, DType::bf16}) expect_within_bounds({5, 8, vocab, 5}, dtype, DType::f32);
  }
}

TEST(LmHeadLossCuda, RealisticSize) {
  NEEDS_GPU();
  expect_within_bounds({96, 32, 50257, 40}, DType::bf16, DType::bf16);
  expect_within_bounds({256, 136, 16384, 256}, DType::bf16, DType::bf16);  // long enough to be timed
  expect_within_bounds({1500, 32, 1024, 1500}, DType::f32, DType::f32);
}

TEST(LmHeadLossCuda, AddsToWhatIsThere) {
  NEEDS_GPU();
  for (const int64_t chunk : {3, 7}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const DType gradient : {DType::f32, DType::bf16}) expect_within_bounds({7, 5, 9, chunk}, dtype, gradient, 2);
    }
  }
}

// One rounding for all chunks: the sum over chunks of 1 token is the same as over one chunk, up to the last bit of
// bf16.
TEST(LmHeadLossCuda, ChunksOfABf16GradientAreRoundedOnce) {
  NEEDS_GPU();
  Sizes s{256, 16, 24, 256};
  const Tensors in = inputs_of(s);
  const Tensors whole = run_step_cuda(build(swept(s, DType::bf16), DType::bf16), in);
  s.chunk = 4;
  const Tensors parts = run_step_cuda(build(swept(s, DType::bf16), DType::bf16), in);
  for (size_t i = 0; i < whole.at("dweight").size(); ++i) {
    const double a = whole.at("dweight")[i];
    const double b = parts.at("dweight")[i];
    // f32 sums in another order round to the same bf16 or to its neighbour; near zero the order decides
    EXPECT_LE(std::fabs(a - b), 2 * unit_roundoff(DType::bf16) * std::fabs(a) + 1e-3) << i;
  }
}

// 2^31 logits and more at once, 4 GiB, against chunks of an eighth of them.
TEST(LmHeadLossCuda, MoreLogitsThan32BitsCount) {
  NEEDS_GPU();
  Sizes s{16640, 16, 131072, 16640};
  ASSERT_GT(s.tokens * s.vocab, int64_t{1} << 31);
  const Tensors in = inputs_of(s);
  const Tensors whole = run_step_cuda(build(swept(s, DType::bf16), DType::bf16), in);
  s.chunk = 2080;
  const Tensors parts = run_step_cuda(build(swept(s, DType::bf16), DType::bf16), in);
  EXPECT_EQ(whole.at("count"), parts.at("count"));
  // a logit's product of length 16 may be rounded to the neighbouring bf16; both gradients are rounded to bf16 again
  const double u = unit_roundoff(DType::bf16);
  expect_near(whole.at("loss"), parts.at("loss"), u, "loss");
  expect_near(whole.at("dh0"), parts.at("dh0"), 8 * u, "dh");
  expect_near(whole.at("dweight"), parts.at("dweight"), 8 * u, "dweight");
}

TEST(LmHeadLossCuda, UnscoredTokensAddNothing) {
  NEEDS_GPU();
  const Sizes s{4, 3, 6, 3};
  Tensors in = inputs_of(s);
  in["targets"] = {-1, -100, 6, -2};  // 6 is no id of the vocabulary
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors out = run_step_cuda(build(swept(s, DType::f32), dtype), in);
    EXPECT_EQ(out.at("loss")[0], 0);
    EXPECT_EQ(out.at("count")[0], 0);
    EXPECT_EQ(out.at("dh0"), std::vector<double>(12, 0.0));
    EXPECT_EQ(out.at("dweight"), std::vector<double>(18, 0.0));
  }
}

TEST(LmHeadLossCuda, LargeLogitsDoNotOverflow) {
  NEEDS_GPU();
  // logits (2000, 0): the loss of target 1 is 2000, that of target 0 is 0; 2000 is exact in bf16
  const Tensors in = {{"h", {2000, 2000}}, {"weight", {1, 0}}, {"targets", {1, 0}}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors out = run_step_cuda(build(swept({2, 1, 2, 2}, DType::f32), dtype), in);
    EXPECT_EQ(out.at("loss")[0], 2000);
    EXPECT_EQ(out.at("dweight"), (std::vector<double>{2000, -2000}));
  }
}

TEST(LmHeadLossCuda, NanInALogitIsSeen) {
  NEEDS_GPU();
  for (const int64_t vocab : {33, 50257, 300000}) {
    const Sizes s{2, 3, vocab, 2};
    Tensors in = inputs_of(s);
    in["weight"][static_cast<size_t>(3 * (vocab - 2))] = std::nan("");
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensors out = run_step_cuda(build(swept(s, DType::f32), dtype), in);
      EXPECT_TRUE(std::isnan(out.at("loss")[0])) << vocab;
      EXPECT_TRUE(std::isnan(out.at("dh0")[0])) << vocab;
    }
  }
}

TEST(LmHeadLossCuda, BothOpsGiveTheSameLoss) {
  NEEDS_GPU();
  const Sizes s{37, 33, 40031, 16};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors forward = run_step_cuda(build(plain(s), dtype), inputs_of(s));
    const Tensors backward = run_step_cuda(build(swept(s, DType::f32), dtype), inputs_of(s));
    EXPECT_EQ(forward.at("loss"), backward.at("loss"));
    EXPECT_EQ(forward.at("count"), backward.at("count"));
  }
}

TEST(LmHeadLossCuda, GradientsWhereOneSideIsFrozen) {
  NEEDS_GPU();
  const Sizes s{5, 4, 7, 2};
  for (const bool h_trains : {true, false}) {
    const Forward forward = [=](Builder& b) {
      lm_head_loss(b, b.parameter("h", {s.tokens, s.columns}, h_trains),
                   b.parameter("weight", {s.vocab, s.columns}, !h_trains),
                   b.stream_in("targets", DType::i32, {s.tokens}), s.chunk, "loss", "count");
    };
    // f32: the bounds above are a few hundred roundoffs of numbers near 1
    expect_cuda_gradients_close(forward, inputs_of(s), DType::f32, {"loss"}, 4096 * unit_roundoff(DType::f32));
  }
}

TEST(LmHeadLossCuda, Repeatable) {
  NEEDS_GPU();
  const Sizes s{65, 33, 40031, 24};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_cuda_repeatable(swept(s, dtype, 2), inputs_of(s), dtype);
  }
}

}  // namespace
}  // namespace centavo::testing
