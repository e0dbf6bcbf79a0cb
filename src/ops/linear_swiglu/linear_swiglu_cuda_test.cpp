#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "machine/make_machine.h"
#include "ops/all.h"
#include "ops/linear/linear.h"
#include "ops/linear_swiglu/linear_swiglu.h"
#include "ops/linear_swiglu/linear_swiglu_cuda.h"
#include "ops/swiglu/swiglu.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

#ifdef CENTAVO_CUDA

struct Size {
  int64_t n, k, f;
};

std::string text_of(const Size& s) { return fmt::format("[{}, {}] to {}", s.n, s.k, s.f); }

// The op, swiglu of its gate_up, and the two ops apart.
Forward every_way(Size s) {
  return [=](Builder& b) {
    const BufferId h = b.parameter("h", {s.n, s.k});
    const BufferId weight = b.parameter("weight", {2 * s.f, s.k});
    const BufferId gate_up = b.call("linear_swiglu", {h, weight}, {"gate_up", "s"})[0];
    swiglu(b, "s.again", gate_up);
    swiglu(b, "s.apart", linear(b, "gate_up.apart", h, weight));
  };
}

// The kernel that does both; where it does not take the case, the test fails.
const OpTable& fused_kernel() {
  static const OpTable table = [] {
    std::vector<OpDef> rows = all_ops().rows();
    for (OpDef& row : rows) {
      if (row.kind != "linear_swiglu") continue;
      row.cuda = [](const OpView& v, const CudaTraits& traits) { return linear_swiglu_fused_cuda(v, traits).value(); };
    }
    return OpTable(std::move(rows));
  }();
  return table;
}

// Less than a tile, a tile and one more in every direction; several tiles to a block, an odd number of tile rows, and
// bands that are not full.
const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {{1, 8, 8},       {127, 72, 136},   {128, 64, 128},   {129, 8, 120},
                                        {300, 200, 264}, {257, 136, 1000}, {2000, 72, 3000}, {17029, 64, 136}};
  return all;
}

// Whole numbers, so that every sum is exact in any order.
Tensors whole_inputs(const Size& s) {
  Tensors in = random_inputs(build(every_way(s)));
  for (auto& [name, values] : in) {
    for (double& value : values) value = std::round(value);
  }
  return in;
}

TEST(LinearSwiGluCuda, TheFusedKernelOfWholeNumbersIsExact) {
  NEEDS_HOPPER();
  for (const Size& size : sizes()) {
    for (const bool replayed : {false, true}) {
      SCOPED_TRACE(text_of(size));
      const Tensors out = run_step_cuda(build(every_way(size), DType::bf16), whole_inputs(size),
                                        {.replayed = replayed, .ops = &fused_kernel()});
      EXPECT_EQ(out.at("gate_up"), out.at("gate_up.apart"));
      EXPECT_EQ(out.at("s"), out.at("s.apart"));
    }
  }
}

// The contract's bound over sums of k products: the program run on magnitudes gives |h||weight|^T.
double bound_of(const Size& s, Tensors inputs) {
  const auto largest = [&] {
    double most = 0;
    for (const double value : run_step(build(every_way(s), DType::f64), inputs).at("gate_up")) {
      most = std::max(most, std::fabs(value));
    }
    return most;
  };
  const double exact = largest();
  for (auto& [name, values] : inputs) {
    for (double& value : values) value = std::fabs(value);
  }
  return static_cast<double>(s.k + 9) * unit_roundoff(DType::f32) * largest() / exact;
}

TEST(LinearSwiGluCuda, TheFusedKernelIsWithinTheBoundOfLinearAndGivesSwiglusBits) {
  NEEDS_HOPPER();
  for (const Size& size : {Size{257, 136, 200}, Size{33, 4096, 72}, Size{300, 1032, 264}}) {
    SCOPED_TRACE(text_of(size));
    const Tensors in = random_inputs(build(every_way(size)));
    // inputs rounded to bf16 change magnitude / exact by a few percent at most: twice is enough
    expect_cuda_close(every_way(size), in, DType::bf16, {"gate_up"},
                      2 * bound_of(size, in) + unit_roundoff(DType::bf16), {.ops = &fused_kernel()});
    const Tensors out = run_step_cuda(build(every_way(size), DType::bf16), in, {.ops = &fused_kernel()});
    EXPECT_EQ(out.at("s"), out.at("s.again"));
  }
}

TEST(LinearSwiGluCuda, TheFusedKernelIsRepeatable) {
  NEEDS_HOPPER();
  const Forward forward = every_way({2000, 264, 1000});
  expect_cuda_repeatable(forward, random_inputs(build(forward)), DType::bf16, {}, {.ops = &fused_kernel()});
}

TEST(LinearSwiGluCuda, TheFusedKernelKeepsNanInItsRow) {
  NEEDS_HOPPER();
  const Size size{3, 8, 8};
  Tensors in = whole_inputs(size);
  in.at("h")[8] = std::nan("");
  const Tensors out = run_step_cuda(build(every_way(size), DType::bf16), in, {.ops = &fused_kernel()});
  for (size_t i = 0; i < out.at("s").size(); ++i) EXPECT_EQ(std::isnan(out.at("s")[i]), i / 8 == 1) << i;
}

TEST(LinearSwiGluCuda, EveryDtypeAndSizeGivesTheBitsOfItsOwnGateUp) {
  NEEDS_GPU();
  for (const Size& size : {Size{1, 1, 1}, Size{7, 33, 5}, Size{65, 40, 24}, Size{300, 136, 200}}) {
    const Tensors in = random_inputs(build(every_way(size)));
    for (const DType dtype : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(text_of(size));
      const Tensors out = run_step_cuda(build(every_way(size), dtype), in);
      EXPECT_EQ(out.at("s"), out.at("s.again"));
      expect_cuda_close(every_way(size), in, dtype, {"gate_up"}, 2 * bound_of(size, in) + unit_roundoff(dtype));
    }
  }
}

// Large enough to be timed; the choice fixes every bit.
TEST(LinearSwiGluCuda, TheChoiceIsKept) {
  NEEDS_HOPPER();
  const std::string directory = new_tuning_directory();
  const Program program = build(every_way({1024, 512, 1024}), DType::bf16);
  const Tensors in = random_inputs(program);
  const Tensors first = run_step_cuda(program, in, {.tuning_directory = directory});
  const std::string kept = tables_in(directory);
  EXPECT_THAT(kept, ::testing::ContainsRegex("linear_swiglu m1024 n2048 k512[^\"]*\": \"(fused|apart)\""));
  EXPECT_EQ(run_step_cuda(program, in, {.tuning_directory = directory}), first);
  EXPECT_EQ(tables_in(directory), kept);
  std::filesystem::remove_all(directory);
}

// What is known without a GPU.
TEST(LinearSwiGluCuda, CasesThatTheFusedKernelDoesNotTake) {
  const auto taken = [](const Size& size, DType dtype, int architecture) {
    const Program p = build(every_way(size), dtype);
    return linear_swiglu_fused_cuda(OpView(p, p.sections[0].ops[0]), {.architecture = architecture}).has_value();
  };
  EXPECT_FALSE(taken({8, 8, 8}, DType::f32, 90));
  EXPECT_FALSE(taken({8, 12, 8}, DType::bf16, 90));
  EXPECT_FALSE(taken({8, 8, 12}, DType::bf16, 90));
  EXPECT_FALSE(taken({8, 8, 8}, DType::bf16, 80));
  EXPECT_FALSE(taken({8, 8, 8}, DType::bf16, 100));
}

#endif

}  // namespace
}  // namespace centavo::testing
