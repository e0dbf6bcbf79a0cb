#include "base/disk_rate.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/errors.h"

namespace centavo {
namespace {

TEST(DiskRate, OfATemporaryDirectory) {
  const std::string directory = std::filesystem::temp_directory_path().string();
  const DiskRate rate = measured_disk_rate(directory, int64_t{4} << 20);
  EXPECT_GT(rate.write_bytes_per_second, 0);
  EXPECT_GE(rate.read_bytes_per_second, 0);
}

TEST(DiskRate, RefusesADirectoryThatIsNotThere) { EXPECT_THROW(measured_disk_rate("/nowhere/at/all", 1), UserError); }

}  // namespace
}  // namespace centavo
