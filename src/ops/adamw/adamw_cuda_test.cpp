#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/adamw/adamw.h"
#include "tests/support/adamw_cases.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

// Element 0 is large in every operand, so that the largest value of a tensor says what is small.
std::vector<double> values(const std::string& name, int64_t n, double first) {
  std::vector<double> x = random_values(name, n);
  x[0] = first;
  return x;
}

Tensors inputs(int64_t n) {
  Tensors in = {{"w", values("w", n, 2)},
                {"g", values("g", n, 1)},
                {"m", values("m", n, 1)},
                {"v", values("v", n, 1)},
                {"scale", {0.25}},
                {"finite", {1}},
                {"lr", {kLr}},
                {"step", {4}},
                {"seed", {7}}};
  for (double& x : in["v"]) x = x * x + 0.01;
  in["master"] = in["w"];
  return in;
}

std::vector<Types> all_types() {
  constexpr DType kTypes[] = {DType::f32, DType::bf16};
  std::vector<Types> all;
  for (size_t i = 0; i < 16; ++i) {
    all.push_back({kTypes[i & 1], kTypes[(i >> 1) & 1], kTypes[(i >> 2) & 1], kTypes[(i >> 3) & 1], false});
    if (all.back().w == DType::bf16) {
      all.push_back(all.back());
      all.back().master = true;
    }
  }
  return all;
}

std::string text(const Types& t) {
  return fmt::format("w {} g {} m {} v {}{}", name_of(t.w), name_of(t.g), name_of(t.m), name_of(t.v),
                     t.master ? " master" : "");
}

struct Pair {
  Tensors cuda, cpu;
};

Pair run(const Types& types, int64_t n, const AdamWSettings& settings, const Tensors& in, const CudaRun& how = {}) {
  const Program program = build(of(types, n, settings));
  return {run_step_cuda(program, in, how), run_step(program, in)};
}

// Roundoffs of f32 that two updates may differ by, of the largest value: v at most 5 each. w, with |m| + |gradient|
// below 60 sqrt(v) here and lr 1/128: 2 + 16 * 60 / 128 / 2 on the GPU, a little less on the CPU.
constexpr double kRoundoffs = 20;

// What is stored in bf16 may fall to either side.
double bound(DType stored) {
  return kRoundoffs * unit_roundoff(DType::f32) + (stored == DType::bf16 ? 2 * unit_roundoff(DType::bf16) : 0.0);
}

void expect_close(const Pair& result, const Types& types) {
  expect_near(result.cuda.at("w"), result.cpu.at("w"), bound(types.w), "w");
  expect_near(result.cuda.at("m"), result.cpu.at("m"), bound(types.m), "m");
  expect_near(result.cuda.at("v"), result.cpu.at("v"), bound(types.v), "v");
  if (types.master) {
    expect_near(result.cuda.at("master"), result.cpu.at("master"), bound(DType::f32), "master");
    EXPECT_EQ(result.cuda.at("w"), rounded(result.cuda.at("master"), types.w)) << "w is the master, rounded to nearest";
  }
}

TEST(AdamWCuda, EveryDtypeAndAwkwardSize) {
  NEEDS_GPU();
  for (const Types& types : all_types()) {
    SCOPED_TRACE(text(types));
    for (const int64_t n : {1, 31, 33, 127, 4096, 4099}) expect_close(run(types, n, {}, inputs(n)), types);
  }
}

TEST(AdamWCuda, RealisticSize) {
  NEEDS_GPU();
  constexpr int64_t kCount = 5000003;  // each block goes round more than once
  for (const Types& types : {Types{DType::bf16, DType::bf16, DType::f32, DType::f32, true},
                             Types{DType::f32, DType::f32, DType::f32, DType::f32, false}}) {
    SCOPED_TRACE(text(types));
    expect_close(run(types, kCount, {}, inputs(kCount)), types);
  }
}

TEST(AdamWCuda, NotFiniteLeavesEveryBit) {
  NEEDS_GPU();
  for (const std::string rounding : {"nearest", "stochastic"}) {
    for (const Types& types : all_types()) {
      const Program program = build(of(types, 600, {.rounding = rounding}));
      Tensors in = inputs(600);
      in["finite"] = {0};
      in["scale"] = {std::nan("")};
      in["g"].assign(600, std::nan(""));
      const Tensors out = run_step_cuda(program, in);
      EXPECT_EQ(out.at("w"), rounded(in["w"], types.w));
      EXPECT_EQ(out.at("m"), rounded(in["m"], types.m));
      EXPECT_EQ(out.at("v"), rounded(in["v"], types.v));
      if (types.master) {
        EXPECT_EQ(out.at("master"), rounded(in["master"], DType::f32));
      }
    }
  }
}

// With betas of 1/2 and operands of few digits m and v are exact before they are rounded, and lr = 0 with a decay of 1
// leaves w alone, so that only the draws decide.
TEST(AdamWCuda, StochasticRoundingDrawsWhatTheCpuDraws) {
  NEEDS_GPU();
  constexpr int64_t kCount = 30001;
  const AdamWSettings settings = {.beta1 = 0.5, .beta2 = 0.5, .rounding = "stochastic"};
  for (const Types& types : all_types()) {
    SCOPED_TRACE(text(types));
    Tensors in = inputs(kCount);
    in["scale"] = {1};
    in["lr"] = {0};
    for (size_t i = 0; i < kCount; ++i) {
      in["g"][i] = static_cast<double>(static_cast<int>(i * 7919 % 255) - 127) / 128;
      in["m"][i] = static_cast<double>(static_cast<int>(i * 104729 % 255) - 127) / 16;
      in["v"][i] = static_cast<double>(i * 1299709 % 255) / 64;
    }
    const Pair result = run(types, kCount, settings, in);
    for (const char* name : {"w", "m", "v"}) EXPECT_EQ(result.cuda.at(name), result.cpu.at(name)) << name;
  }
}

// Weights, too: where the two differ by a few roundoffs of f32, about one rounding in 2^16 falls to another side.
TEST(AdamWCuda, StochasticRoundingOfWeights) {
  NEEDS_GPU();
  constexpr int64_t kCount = 100003;
  const Types types = {DType::bf16, DType::bf16, DType::bf16, DType::bf16};
  const Pair result = run(types, kCount, {.rounding = "stochastic"}, inputs(kCount));
  expect_close(result, types);
  for (const char* name : {"w", "m", "v"}) {
    int64_t differing = 0;
    for (size_t i = 0; i < kCount; ++i) differing += result.cuda.at(name)[i] != result.cpu.at(name)[i] ? 1 : 0;
    EXPECT_LT(differing, kCount / 500) << name;
  }
}

// Shards begin inside a group of elements that share a call of Philox.
TEST(AdamWCuda, AShardDrawsWhatTheWholeWould) {
  NEEDS_GPU();
  constexpr int64_t kShare = 1011;
  for (const DType g : {DType::f32, DType::bf16}) {
    const Types types = {DType::bf16, g, DType::bf16, DType::bf16};
    const AdamWSettings settings = {.rounding = "stochastic"};
    Tensors in = inputs(3 * kShare);
    const Tensors whole = run_step_cuda(build(of(types, 3 * kShare, settings)), in);
    for (const int64_t index : {1, 2}) {
      Program shard = build(of(types, kShare, settings));
      shard.buffer(shard.find("w")).shard = Shard{"data", index, 3};
      const auto own = [&](const std::vector<double>& x) {
        return std::vector<double>(x.begin() + index * kShare, x.begin() + (index + 1) * kShare);
      };
      Tensors mine = in;
      for (const char* name : {"w", "g", "m", "v"}) mine[name] = own(in[name]);
      const Tensors part = run_step_cuda(shard, mine);
      for (const char* name : {"w", "m", "v"}) EXPECT_EQ(part.at(name), own(whole.at(name))) << name << " " << index;
    }
  }
}

TEST(AdamWCuda, NanAndInfinityStay) {
  NEEDS_GPU();
  const Types types = {DType::bf16, DType::bf16, DType::bf16, DType::bf16};
  Tensors in = inputs(100);
  in["w"][3] = std::nan("");
  in["m"][18] = std::nan("");
  in["v"][41] = std::nan("");
  in["w"][64] = -std::numeric_limits<double>::infinity();
  in["v"][80] = std::numeric_limits<double>::infinity();
  const Pair result = run(types, 100, {.rounding = "stochastic"}, in);
  for (const char* name : {"w", "m", "v"}) {
    for (size_t i = 0; i < 100; ++i) {
      const double cuda = result.cuda.at(name)[i], cpu = result.cpu.at(name)[i];
      EXPECT_EQ(std::isnan(cuda), std::isnan(cpu)) << name << " " << i;
      EXPECT_EQ(std::isinf(cuda), std::isinf(cpu)) << name << " " << i;
    }
  }
  EXPECT_TRUE(std::isnan(result.cuda.at("w")[18]));
  EXPECT_TRUE(std::isinf(result.cuda.at("v")[80]));
}

TEST(AdamWCuda, RepeatableAndReplayed) {
  NEEDS_GPU();
  const Types types = {DType::bf16, DType::bf16, DType::bf16, DType::f32};
  const AdamWSettings settings = {.rounding = "stochastic"};
  const Tensors in = inputs(30001);
  expect_cuda_repeatable(of(types, 30001, settings), in, DType::bf16, {}, {.replayed = true});
  const Program program = build(of(types, 30001, settings));
  EXPECT_EQ(run_step_cuda(program, in).at("w"), run_step_cuda(program, in, {.replayed = true}).at("w"));
}

}  // namespace
}  // namespace centavo::testing
