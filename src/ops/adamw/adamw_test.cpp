#include "ops/adamw/adamw.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/adamw_cases.h"

namespace centavo::testing {
namespace {

constexpr double kScale = 0.25;

std::vector<double> as(DType dtype, std::vector<double> values) {
  visit_compute(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (double& x : values) x = convert<double>(convert<T>(x));
  });
  return values;
}

// Element 0 is large in every operand, so that the largest value of a tensor says what is small.
std::vector<double> values(const std::string& name, DType dtype, int64_t n, double first) {
  std::vector<double> x = random_values(name, n);
  x[0] = first;
  return as(dtype, x);
}

std::vector<double> squares(std::vector<double> x) {
  for (double& e : x) e *= e;
  return x;
}

Tensors inputs(const Types& types, int64_t n, int64_t step = 0) {
  const auto w = values("w", types.master ? DType::f32 : types.w, n, 2);
  return {{"w", as(types.w, w)},
          {"master", w},
          {"g", values("g", types.g, n, 1)},
          {"m", values("m", types.m, n, 1)},
          {"v", as(types.v, squares(values("v", types.v, n, 1)))},
          {"scale", {kScale}},
          {"finite", {1}},
          {"lr", {kLr}},
          {"step", {static_cast<double>(step)}},
          {"seed", {7}}};
}

Tensors run(const Types& types, const AdamWSettings& settings, const Tensors& all) {
  const Program program = build(of(types, static_cast<int64_t>(all.at("g").size()), settings));
  Tensors in;
  for (const auto& [name, x] : all) {
    if (program.find(name) != kNone) in[name] = x;
  }
  return run_step(program, in);
}

struct Reference {
  std::vector<double> w, m, v;

  // torch.optim.AdamW, line by line.
  void step(const std::vector<double>& g, double t, const AdamWSettings& s) {
    for (size_t i = 0; i < w.size(); ++i) {
      const double gradient = g[i] * kScale;
      w[i] *= 1 - kLr * s.weight_decay;
      m[i] = m[i] + (1 - s.beta1) * (gradient - m[i]);
      v[i] = v[i] * s.beta2 + (1 - s.beta2) * gradient * gradient;
      const double denom = std::sqrt(v[i]) / std::sqrt(1 - std::pow(s.beta2, t)) + s.eps;
      w[i] -= kLr / (1 - std::pow(s.beta1, t)) * (m[i] / denom);
    }
  }
};

Reference reference_of(const Tensors& in, const Types& types) {
  return {in.at(types.master ? "master" : "w"), in.at("m"), in.at("v")};
}

TEST(AdamW, ByHand) {
  // t = 1 from m = v = 0: both bias corrections undo the averages, so w moves by lr * sign(g)
  const AdamWSettings settings = {.eps = 0, .weight_decay = 0.5};
  const Types types = {DType::f64, DType::f64, DType::f64, DType::f64};
  Tensors in = {{"w", {1, -1}},   {"g", {2, -6}},  {"m", {0, 0}},  {"v", {0, 0}},
                {"scale", {0.5}}, {"finite", {1}}, {"lr", {0.25}}, {"step", {0}}};
  const Tensors out = run(types, settings, in);
  EXPECT_NEAR(out.at("w")[0], 1 * 0.875 - 0.25, 1e-15);
  EXPECT_NEAR(out.at("w")[1], -1 * 0.875 + 0.25, 1e-15);
  EXPECT_NEAR(out.at("m")[1], 0.1 * -3, 1e-15);
  EXPECT_NEAR(out.at("v")[1], 0.05 * 9, 1e-15);
}

// Rounding of one step, in roundoffs: w 2 |w|, and the update at most 1.2 since |m| + |gradient| <= 13 sqrt(v) from
// zero moments and lr is 1/128: 3 of the largest |w|. v: 5. m: 3 of the largest |m|, besides 2 |gradient| in all, which
// is below 8 |m|. Errors of m and v fade: ten steps count for less than 8 v and 10 m.
void expect_ten_steps(const Types& types, DType computed_in) {
  const AdamWSettings settings;
  const double u = unit_roundoff(computed_in);
  Tensors in = inputs(types, 1000);
  in["m"].assign(1000, 0);
  in["v"].assign(1000, 0);
  Reference reference = reference_of(in, types);
  for (int64_t step = 0; step < 10; ++step) {
    in["step"] = {static_cast<double>(step)};
    in["g"] = values("g" + std::to_string(step), types.g, 1000, 1);
    reference.step(in["g"], static_cast<double>(step + 1), settings);
    for (const auto& [name, x] : run(types, settings, in)) in[name] = x;
  }
  expect_near(in[types.master ? "master" : "w"], reference.w, 30 * u, "w");
  expect_near(in["m"], reference.m, 46 * u, "m");
  expect_near(in["v"], reference.v, 40 * u, "v");
  if (types.master) {
    EXPECT_EQ(in["w"], as(types.w, in["master"])) << "w is the master, rounded to nearest";
  }
}

TEST(AdamW, TenSteps) {
  expect_ten_steps({DType::f64, DType::f64, DType::f64, DType::f64}, DType::f64);
  expect_ten_steps({DType::f32, DType::f32, DType::f32, DType::f32}, DType::f32);
  expect_ten_steps({DType::bf16, DType::bf16, DType::f32, DType::f32, true}, DType::f32);
}

TEST(AdamW, EveryDtypeAndAwkwardSize) {
  constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16};
  const AdamWSettings settings;
  for (const int64_t n : {1, 31, 32, 33, 127, 512, 513, 4096}) {
    for (size_t i = 0; i < 9; ++i) {
      const Types types = {kTypes[i % 3], kTypes[i / 3], kTypes[(i + i / 3) % 3], kTypes[(i + 1) % 3]};
      const Tensors in = inputs(types, n, 4);
      Reference reference = reference_of(in, types);
      reference.step(in.at("g"), 5, settings);
      const Tensors out = run(types, settings, in);
      // 8 roundoffs of the arithmetic (v, the most, has 5; the reference itself counts in f64), one of the stored type
      const auto bound = [&](DType stored) {
        return 8 * unit_roundoff(types.w == DType::f64 ? DType::f64 : DType::f32) + unit_roundoff(stored);
      };
      expect_near(out.at("w"), reference.w, bound(types.w), "w");
      expect_near(out.at("m"), reference.m, bound(types.m), "m");
      expect_near(out.at("v"), reference.v, bound(types.v), "v");
    }
  }
}

TEST(AdamW, NotFiniteLeavesEveryBit) {
  for (const std::string rounding : {"nearest", "stochastic"}) {
    for (const bool master : {false, true}) {
      const Types types = {DType::bf16, DType::f32, DType::bf16, DType::f32, master};
      Tensors in = inputs(types, 600);
      in["finite"] = {0};
      in["scale"] = {std::nan("")};
      in["g"].assign(600, std::nan(""));
      const Tensors out = run(types, {.rounding = rounding}, in);
      for (const char* name : {"w", "m", "v"}) EXPECT_EQ(out.at(name), in.at(name)) << name;
      if (master) {
        EXPECT_EQ(out.at("master"), in.at("master"));
      }
    }
  }
}

// Every element gets the same operands, so the mean of a rounded output estimates the exact value with standard
// deviation spacing * sqrt(f (1 - f) / n) <= spacing / (2 sqrt(n)).
TEST(AdamW, StochasticRoundingIsUnbiased) {
  constexpr int64_t kCount = 1 << 16;
  const Types types = {DType::bf16, DType::f32, DType::bf16, DType::bf16};
  const AdamWSettings settings = {.weight_decay = 0.01, .rounding = "stochastic"};
  Tensors in = inputs(types, kCount, 3);
  in["w"].assign(kCount, 1.25);
  in["g"].assign(kCount, 0.7182);
  in["m"].assign(kCount, 0.3125);
  in["v"].assign(kCount, 0.0625);
  in["g"] = as(DType::f32, in["g"]);
  Reference exact = reference_of(in, types);
  exact.step(in["g"], 4, settings);
  const Tensors out = run(types, settings, in);
  const auto expect_mean = [&](const char* name, double value) {
    double mean = 0;
    for (const double x : out.at(name)) mean += x / kCount;
    const double spacing = std::ldexp(1.0, std::ilogb(value) - 7);
    for (const double x : out.at(name)) ASSERT_LT(std::abs(x - value), 1.001 * spacing) << name;
    EXPECT_NE(out.at(name), std::vector<double>(kCount, out.at(name)[0])) << name << " is not exactly representable";
    EXPECT_NEAR(mean, value, 5 * spacing / (2 * std::sqrt(kCount)) + 8 * unit_roundoff(DType::f32)) << name;
  };
  expect_mean("w", exact.w[0]);
  expect_mean("m", exact.m[0]);
  expect_mean("v", exact.v[0]);
}

TEST(AdamW, StochasticRoundingIsKeyedBySeedAndStep) {
  // m depends on seed and step through its rounding only
  const Types types = {DType::f32, DType::f32, DType::bf16, DType::f32};
  const AdamWSettings settings = {.rounding = "stochastic"};
  Tensors in = inputs(types, 1000, 3);
  const auto m = run(types, settings, in).at("m");
  EXPECT_EQ(run(types, settings, in).at("m"), m);
  in["seed"] = {8};
  EXPECT_NE(run(types, settings, in).at("m"), m);
  in["seed"] = {7};
  in["step"] = {4};
  EXPECT_NE(run(types, settings, in).at("m"), m);
}

// Shards begin inside a group of elements that share a call of Philox.
TEST(AdamW, AShardDrawsWhatTheWholeWould) {
  constexpr int64_t kShare = 1011;
  for (const DType g : {DType::f32, DType::bf16}) {
    const Types types = {DType::bf16, g, DType::bf16, DType::bf16};
    const AdamWSettings settings = {.rounding = "stochastic"};
    Tensors in = inputs(types, 3 * kShare, 3);
    in.erase("master");
    const Tensors whole = run_step(build(of(types, 3 * kShare, settings)), in);
    for (const int64_t index : {1, 2}) {
      Program shard = build(of(types, kShare, settings));
      shard.buffer(shard.find("w")).shard = Shard{"data", index, 3};
      const auto own = [&](const std::vector<double>& x) {
        return std::vector<double>(x.begin() + index * kShare, x.begin() + (index + 1) * kShare);
      };
      Tensors mine = in;
      for (const char* name : {"w", "g", "m", "v"}) mine[name] = own(in[name]);
      const Tensors part = run_step(shard, mine);
      for (const char* name : {"w", "m", "v"}) EXPECT_EQ(part.at(name), own(whole.at(name))) << name << " " << index;
    }
  }
}

TEST(AdamW, Repeatable) {
  const Types types = {DType::bf16, DType::bf16, DType::bf16, DType::f32};
  Tensors in = inputs(types, 30001, 3);
  in.erase("master");
  expect_repeatable(of(types, 30001, {.rounding = "stochastic"}), in, DType::bf16);
}

AdamWOperands declare(Builder& b, const Shape& w, const Shape& g) {
  return {.w = b.parameter("w", w),
          .g = b.stream_in("g", DType::f32, g),
          .m = b.parameter("m", w),
          .v = b.parameter("v", w),
          .scale = b.stream_in("scale", DType::f32, {1}),
          .finite = b.stream_in("finite", DType::i32, {1}),
          .lr = b.stream_in("lr", DType::f32, {1}),
          .step = b.stream_in("step", DType::i64, {1})};
}

TEST(AdamW, Rejects) {
  expect_shape_error([](Builder& b) { adamw(b, declare(b, {4}, {3}), {}); }, "g must be [4] like w, not [3]");
  expect_shape_error([](Builder& b) { adamw(b, declare(b, {4}, {4}), {.rounding = "up"}); },
                     "rounding must be nearest or stochastic");
  expect_shape_error([](Builder& b) { adamw(b, declare(b, {4}, {4}), {.rounding = "stochastic"}); }, "needs a seed");
  expect_shape_error(
      [](Builder& b) {
        AdamWOperands operands = declare(b, {4}, {4});
        operands.master = b.stream_in("master", DType::f32, {4});
        adamw(b, operands, {});
      },
      "a master is for bf16 weights");
  expect_shape_error(
      [](Builder& b) {
        const AdamWOperands o = declare(b, {4}, {4});
        b.call("adamw", {o.w, o.g, o.m, o.v, kNone, o.scale, o.finite, o.lr, o.step, kNone}, {"w2", o.m, o.v, Into()},
               adamw_attributes({}));
      },
      "output w must be the input buffer w");
}

}  // namespace
}  // namespace centavo::testing
