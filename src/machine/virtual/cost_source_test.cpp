#include "machine/virtual/cost_source.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/models.h"
#include "tests/support/programs_by_hand.h"

namespace centavo::testing {
namespace {

TEST(PriorProfile, FollowsThreadsClockAndInstructions) {
  CpuFacts cpu;
  cpu.model = "Chip";
  cpu.features = {"avx2", "fma"};
  cpu.clock_hz = 2e9;
  const Profile narrow = prior_profile(cpu, 2);
  EXPECT_EQ(narrow.machine, "Chip");
  EXPECT_EQ(narrow.threads, 2);
  EXPECT_EQ(narrow.product_flops.at("f32"), 2 * 2e9 * 32);
  EXPECT_EQ(narrow.product_flops.at("f64"), 2 * 2e9 * 16);
  EXPECT_EQ(narrow.product_flops.at("bf16"), 2 * 2e9 * 32);
  EXPECT_EQ(narrow.copy_bytes_per_second, 16e9);
  cpu.features = {"avx512f", "avx512_bf16"};
  EXPECT_EQ(prior_profile(cpu, 64).product_flops.at("bf16"), 64 * 2e9 * 64);
  cpu.model = "AMD Chip";
  EXPECT_EQ(prior_profile(cpu, 64).product_flops.at("bf16"), 64 * 2e9 * 128);
  EXPECT_EQ(prior_profile(cpu, 64).copy_bytes_per_second, 40e9);
  EXPECT_EQ(prior_profile(CpuFacts(), 1).product_flops.at("f32"), 2.5e9 * 8);
}

TEST(PriorProfile, OfAGpuFollowsNameAndArchitecture) {
  CudaTraits gpu;
  gpu.architecture = 90;
  const Profile h200 = prior_profile(gpu, "NVIDIA H200");
  EXPECT_EQ(h200.device, DeviceKind::cuda);
  EXPECT_EQ(h200.machine, "NVIDIA H200");
  EXPECT_EQ(h200.architecture, 90);
  EXPECT_EQ(h200.copy_bytes_per_second, 4.3e12);
  const Profile unnamed = prior_profile(gpu, "");
  EXPECT_EQ(unnamed.machine, "a GPU of architecture 90");
  EXPECT_EQ(unnamed.copy_bytes_per_second, 3.0e12);
  EXPECT_EQ(unnamed.product_flops.at("bf16"), h200.product_flops.at("bf16"));
  gpu.architecture = 103;  // newer than 100, older than 120
  EXPECT_EQ(prior_profile(gpu, "").copy_bytes_per_second, 7.2e12);
  gpu.architecture = 75;
  EXPECT_EQ(prior_profile(gpu, "").copy_bytes_per_second, 1.8e12);
}

// Each byte is read on one side and written on the other.
TEST(PriorProfile, WhatIsOffloadedCrossesTheLink) {
  CudaTraits gpu;
  for (const auto& [architecture, rate] : std::map<int, double>{{80, 25e9}, {90, 50e9}, {120, 50e9}}) {
    gpu.architecture = architecture;
    const Profile prior = prior_profile(gpu, "");
    EXPECT_EQ(prior.floor_seconds({"copy f32 > f32@host", {}, {.bytes = 2e9}}), 1e9 / rate);
    EXPECT_EQ(prior.floor_seconds({"copy f32@host > f32", {}, {.bytes = 2e9}}), 1e9 / rate);
    EXPECT_LT(prior.floor_seconds({"copy f32 > f32", {}, {.bytes = 2e9}}), 1e9 / rate / 10);
  }
}

TEST(CostSource, LanesAreThoseOfTheDevice) {
  OpCosts cpu(prior_profile(CpuFacts(), 1));
  OpCosts gpu(prior_profile(CudaTraits(), ""));
  EXPECT_EQ(cost_source(test_ops(), cpu, CostSource::Kind::prior).lanes(), LaneModel::one_lane);
  EXPECT_EQ(cost_source(test_ops(), gpu, CostSource::Kind::prior).lanes(), LaneModel::parallel);
}

TEST(CostSource, ReadsTheProfile) {
  const Program program = program_by_hand("section only\n  %1 b = add(a, a)\nstep only\n");
  const OpView view(program, program.sections[0].ops[0]);
  Profile profile = prior_profile(CpuFacts(), 1);
  OpCosts costs(profile);
  const CostSource source = cost_source(test_ops(), costs, CostSource::Kind::prior);
  EXPECT_EQ(source.floor_seconds(view), 48 / 8e9);
  EXPECT_GE(source.seconds(view), source.floor_seconds(view));
  EXPECT_EQ(source.unknown().size(), 1U);
}

}  // namespace
}  // namespace centavo::testing
