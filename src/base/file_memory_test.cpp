#include "base/file_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/errors.h"

namespace centavo {
namespace {

std::string fresh_directory(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/file memory " + name;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

TEST(FileMemory, ZerosThatCanBeWrittenAndNoNameIsLeft) {
  const std::string directory = fresh_directory("zeros");
  constexpr int64_t kBytes = 3 * 4096 + 17;
  std::byte* memory = map_file_memory(directory, kBytes);
  EXPECT_TRUE(std::filesystem::is_empty(directory));
  EXPECT_TRUE(std::all_of(memory, memory + kBytes, [](std::byte b) { return b == std::byte{0}; }));
  std::fill_n(memory, kBytes, std::byte{7});
  EXPECT_EQ(std::count(memory, memory + kBytes, std::byte{7}), kBytes);
  EXPECT_EQ(munmap(memory, kBytes), 0);
}

TEST(FileMemory, IsASharedMappingOfANamelessFile) {
  const std::string directory = fresh_directory("blocks");
  constexpr int64_t kBytes = 1 << 20;
  std::byte* memory = map_file_memory(directory, kBytes);
  std::ifstream maps("/proc/self/maps");
  std::string line;
  bool found = false;
  while (std::getline(maps, line)) {
    found = found || (line.find(fmt::format("{:x}-", reinterpret_cast<uintptr_t>(memory))) == 0 &&
                      line.find("rw-s") != std::string::npos && line.find("/centavo.") != std::string::npos);
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(munmap(memory, kBytes), 0);
}

TEST(FileMemory, AFullDiskIsAnErrorAtOnce) {
  const std::string directory = fresh_directory("full");
  struct statvfs status = {};
  ASSERT_EQ(statvfs(directory.c_str(), &status), 0);
  const auto free_bytes = static_cast<int64_t>(status.f_bavail * status.f_frsize);
  EXPECT_THROW(map_file_memory(directory, 2 * free_bytes + (int64_t{1} << 40)), OutOfMemory);
  EXPECT_TRUE(std::filesystem::is_empty(directory));
}

TEST(FileMemory, ADirectoryThatIsNotThereIsNamed) {
  try {
    map_file_memory("/nowhere at all", 4096);
    FAIL() << "mapped";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere at all"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace centavo
