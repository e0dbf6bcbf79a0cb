#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "machine/make_machine.h"
#include "ops/all.h"
#include "ops/linear_swiglu/linear_dx_swiglu_grad.h"
#include "ops/linear_swiglu/linear_dx_swiglu_grad_cuda.h"
#include "tests/support/cuda_check.h"
#include "tests/support/linear_dx_swiglu_grad_cases.h"

namespace centavo::testing {
namespace {

#ifdef CENTAVO_CUDA

using Size = GradSize;

// Number kWay of the kernels that do both; where it does not take the case, the test fails.
template <size_t kWay>
OpTable fused_kernel() {
  std::vector<OpDef> rows = all_ops().rows();
  for (OpDef& row : rows) {
    if (row.kind != "linear_dx_swiglu_grad") continue;
    row.cuda = [](const OpView& v, const CudaTraits& traits) {
      return linear_dx_swiglu_grad_fused_cuda(v, traits).at(kWay).kernel;
    };
  }
  return OpTable(std::move(rows));
}

// With each crew.
const std::vector<OpTable>& fused_kernels() {
  static const std::vector<OpTable> tables = {fused_kernel<0>(), fused_kernel<1>()};
  return tables;
}

bool takes(const Size& size, DType dtype, const CudaTraits& traits) {
  const Program p = build(linear_dx_swiglu_grad_ways(size), dtype);
  return !linear_dx_swiglu_grad_fused_cuda(OpView(p, p.sections[0].ops[0]), traits).empty();
}

// Less than a tile, a tile and one more in every direction; several tiles to a block, an odd number of tile rows, and
// bands that are not full.
const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {{1, 8, 8},       {127, 72, 264},   {128, 64, 256},   {129, 8, 248},
                                        {300, 200, 264}, {257, 136, 1000}, {2000, 72, 3000}, {17029, 64, 136}};
  return all;
}

// Whole numbers in the product, so that every sum is exact in any order.
Tensors whole_inputs(const Size& s) {
  Tensors in = random_inputs(build(linear_dx_swiglu_grad_ways(s)), 2.0);
  for (const char* name : {"dy", "weight"}) {
    for (double& value : in.at(name)) value = std::round(value);
  }
  return in;
}

TEST(LinearDxSwiGluGradCuda, TheFusedKernelsOfWholeNumbersGiveTheBitsOfTheTwoOps) {
  NEEDS_HOPPER();
  for (const Size& size : sizes()) {
    SCOPED_TRACE(text_of(size));
    const Program p = build(linear_dx_swiglu_grad_ways(size), DType::bf16);
    const Tensors in = whole_inputs(size);
    for (const OpTable& ops : fused_kernels()) {
      expect_bits_of_the_two_ops(run_step_cuda(p, in, {.ops = &ops}));
      expect_bits_of_the_two_ops(run_step_cuda(p, in, {.replayed = true, .ops = &ops}));
    }
  }
}

// gate = 0 makes dgate half of ds up: with up = 2, dgate is ds, in linear.h's bound over sums of C products.
TEST(LinearDxSwiGluGradCuda, TheFusedKernelsProductIsWithinTheBoundOfLinear) {
  NEEDS_HOPPER();
  for (const Size& size : {Size{257, 136, 200}, Size{33, 4096, 72}, Size{300, 1032, 264}}) {
    SCOPED_TRACE(text_of(size));
    Tensors in = random_inputs(build(linear_dx_swiglu_grad_ways(size)));
    for (size_t i = 0; i < in.at("gate_up").size(); ++i) {
      in.at("gate_up")[i] = static_cast<int64_t>(i) % (2 * size.f) < size.f ? 0.0 : 2.0;
    }
    // C products of numbers of about 1: their magnitudes sum to C, the largest sum is above the root of C
    const double sums = (static_cast<double>(size.c) + 9) * std::sqrt(static_cast<double>(size.c));
    const double bound = sums * unit_roundoff(DType::f32) + 3 * unit_roundoff(DType::bf16);
    for (const OpTable& ops : fused_kernels()) {
      expect_cuda_close(linear_dx_swiglu_grad_ways(size), in, DType::bf16, {"dgate_up", "dgate_up.with_s"}, bound,
                        {.ops = &ops});
    }
  }
}

TEST(LinearDxSwiGluGradCuda, TheFusedKernelsAreRepeatableAndTheSameWithS) {
  NEEDS_HOPPER();
  const Forward forward = linear_dx_swiglu_grad_ways({2000, 264, 1000});
  const Tensors in = random_inputs(build(forward));
  std::vector<double> small_crew;
  for (const OpTable& ops : fused_kernels()) {
    expect_cuda_repeatable(forward, in, DType::bf16, {}, {.ops = &ops});
    const Tensors out = run_step_cuda(build(forward, DType::bf16), in, {.ops = &ops});
    EXPECT_EQ(out.at("dgate_up"), out.at("dgate_up.with_s"));
    EXPECT_EQ(out.at("s"), out.at("s.apart"));
    if (small_crew.empty()) small_crew = out.at("dgate_up");
    EXPECT_EQ(out.at("dgate_up"), small_crew);
  }
}

TEST(LinearDxSwiGluGradCuda, TheFusedKernelsKeepNanInItsRow) {
  NEEDS_HOPPER();
  Tensors in = whole_inputs({3, 8, 8});
  in.at("dy")[8] = std::nan("");
  const Program p = build(linear_dx_swiglu_grad_ways({3, 8, 8}), DType::bf16);
  for (const OpTable& ops : fused_kernels()) {
    const std::vector<double> out = run_step_cuda(p, in, {.ops = &ops}).at("dgate_up");
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i / 16 == 1) << i;
  }
}

TEST(LinearDxSwiGluGradCuda, EveryDtypeAndSizeGivesTheBitsOfTheTwoOps) {
  NEEDS_GPU();
  for (const Size& size : {Size{1, 1, 1}, Size{7, 33, 5}, Size{65, 40, 24}, Size{300, 136, 200}}) {
    const Tensors in = random_inputs(build(linear_dx_swiglu_grad_ways(size)));
    for (const DType dtype : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(text_of(size));
      expect_bits_of_the_two_ops(run_step_cuda(build(linear_dx_swiglu_grad_ways(size), dtype), in));
    }
  }
}

// Large enough to be timed; with s and without, one choice.
TEST(LinearDxSwiGluGradCuda, TheChoiceIsKept) {
  NEEDS_HOPPER();
  const std::string directory = new_tuning_directory();
  const Program program = build(linear_dx_swiglu_grad_ways({1024, 512, 1024}), DType::bf16);
  const Tensors in = random_inputs(program);
  const Tensors first = run_step_cuda(program, in, {.tuning_directory = directory});
  EXPECT_EQ(first.at("dgate_up"), first.at("dgate_up.with_s"));
  const std::string kept = tables_in(directory);
  EXPECT_THAT(kept,
              ::testing::ContainsRegex(
                  "linear_dx_swiglu_grad m1024 n1024 k512[^\"]*\": \"(fused, small crew|fused, large crew|apart)\""));
  EXPECT_EQ(run_step_cuda(program, in, {.tuning_directory = directory}), first);
  EXPECT_EQ(tables_in(directory), kept);
  std::filesystem::remove_all(directory);
}

// What is known without a GPU.
TEST(LinearDxSwiGluGradCuda, CasesThatTheFusedKernelDoesNotTake) {
  const auto taken = [](const Size& size, DType dtype, int architecture) {
    return takes(size, dtype, {.architecture = architecture});
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
