#include "base/nvml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/paths.h"

namespace centavo::testing {
namespace {

using ::testing::HasSubstr;

const std::string kFake = fake_library("nvml");
constexpr const char* kPlace = "0000:18:00.0";

TEST(Nvml, ReadsWhatTheGpuTells) {
  const Nvml nvml(kPlace, kFake);
  ASSERT_EQ(nvml.refusal(), "");
  const GpuReading first = nvml.read();
  EXPECT_EQ(first.watts, 500);
  EXPECT_EQ(first.sm_mhz, 1500);
  EXPECT_EQ(first.memory_mhz, 3201);
  EXPECT_EQ(first.celsius, 61);
  ASSERT_TRUE(first.joules);
  EXPECT_EQ(nvml.read().joules, *first.joules + 500);
}

TEST(Nvml, NamesWhatSlowsTheGpuDown) {
  EXPECT_STREQ(slow_down_name(2), "power limit");
  EXPECT_EQ(slow_down_name(0), nullptr);  // idle
  EXPECT_EQ(slow_down_name(1), nullptr);  // clocks as the user set them
}

TEST(Nvml, TellsWhoComputes) {
  const std::vector<GpuProcess> processes = Nvml(kPlace, kFake).processes();
  ASSERT_EQ(processes.size(), 2U);
  EXPECT_EQ(processes[0].pid, 1);
  EXPECT_EQ(processes[0].bytes, int64_t{80} << 30);
  EXPECT_EQ(processes[1].bytes, std::nullopt);
}

TEST(Nvml, SaysWhyItTellsNothing) {
  const Nvml missing(kPlace, "libcentavo_has_none.so.9");
  EXPECT_THAT(missing.refusal(), HasSubstr("NVML cannot be opened: libcentavo_has_none.so.9"));
  EXPECT_EQ(missing.read().watts, std::nullopt);
  EXPECT_TRUE(missing.processes().empty());
  EXPECT_EQ(Nvml("0000:19:00.0", kFake).refusal(), "NVML does not know the GPU at 0000:19:00.0: Not Found");
  // A library that has none of the functions.
  EXPECT_THAT(Nvml(kPlace, fake_library("old")).refusal(), HasSubstr("error 13"));
}

}  // namespace
}  // namespace centavo::testing
