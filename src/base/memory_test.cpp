#include "base/memory.h"

#include <gtest/gtest.h>

namespace centavo {
namespace {

TEST(Memory, FieldsInKilobytes) {
  const std::string text = "MemTotal:       24000 kB\nMemFree: 1 kB\nMemAvailable:   512 kB\nBroken: x kB\nEnd:";
  EXPECT_EQ(kilobyte_field(text, "MemTotal"), 24000 * 1024);
  EXPECT_EQ(kilobyte_field(text, "MemAvailable"), 512 * 1024);
  EXPECT_EQ(kilobyte_field(text, "Available"), std::nullopt);
  EXPECT_EQ(kilobyte_field(text, "Broken"), std::nullopt);
  EXPECT_EQ(kilobyte_field(text, "End"), std::nullopt);
  EXPECT_EQ(kilobyte_field("", "MemTotal"), std::nullopt);
}

TEST(Memory, ThisMachineHasSome) {
  EXPECT_GT(available_memory_bytes(), 1 << 20);
  EXPECT_LT(available_memory_bytes(), int64_t{1} << 50);
}

}  // namespace
}  // namespace centavo
