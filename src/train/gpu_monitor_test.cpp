#include "train/gpu_monitor.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/paths.h"

namespace centavo::testing {
namespace {

using Interval = GpuMonitor::Interval;

std::unique_ptr<Nvml> fake() { return std::make_unique<Nvml>("0000:18:00.0", fake_library("nvml")); }

TEST(GpuUse, StretchesAddUp) {
  GpuUse use{.seconds = 1, .joules = 100, .sm_mhz = 1000, .celsius = 60};
  use.add({.seconds = 3,
           .joules = 900,
           .sm_mhz = 1400,
           .celsius = 50,
           .slowed = {{"power limit", 3}},
           .slowed_seconds = 3});
  EXPECT_EQ(use.seconds, 4);
  EXPECT_EQ(use.joules, 1000);
  EXPECT_EQ(use.watts(), 250);
  EXPECT_EQ(use.sm_mhz, 1300);
  EXPECT_EQ(use.memory_mhz, std::nullopt);
  EXPECT_EQ(use.celsius, 60);
  EXPECT_EQ(gpu_use_text(use), "0.000278 kWh, 250 W on average, slowed down 75 % of the time (power limit 75 %)");
}

TEST(GpuUse, InWordsIsNoMoreThanIsKnown) {
  EXPECT_EQ(gpu_use_text({}), "");
  EXPECT_EQ(gpu_use_text({.seconds = 2}), "");
  EXPECT_EQ(gpu_use_text({.seconds = 2, .slowed_seconds = 0}), "never slowed down");
  EXPECT_EQ(gpu_use_text({.seconds = 2, .joules = 720}), "0.0002 kWh, 360 W on average");
}

// The fake library draws 500 J more at each reading and is slowed down in every other of them.
TEST(GpuMonitor, AddsUpReadings) {
  GpuMonitor monitor(fake(), Interval(3'600'000));  // only when asked
  const GpuUse first = monitor.all();
  EXPECT_EQ(first.joules, 500);
  EXPECT_EQ(first.sm_mhz, 1500);
  EXPECT_GT(first.seconds, 0);
  const GpuUse second = monitor.all();
  EXPECT_EQ(second.joules, 1000);
  ASSERT_TRUE(first.slowed_seconds && second.slowed_seconds);
  EXPECT_GT(*second.slowed_seconds, 0);
  EXPECT_LT(*second.slowed_seconds, second.seconds);
  EXPECT_EQ(second.slowed.at("power limit"), second.slowed_seconds);
  EXPECT_EQ(monitor.take(), second);
  EXPECT_EQ(monitor.take(), GpuUse());
}

TEST(GpuMonitor, ReadsByItself) {
  GpuMonitor monitor(fake(), Interval(1));
  GpuUse seen;
  while (seen.joules.value_or(0) < 1500) seen.add(monitor.take());
  EXPECT_GT(seen.seconds, 0.002);
}

}  // namespace
}  // namespace centavo::testing
