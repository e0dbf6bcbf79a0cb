#include "base/host.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/files.h"

namespace centavo {
namespace {

// A root of its own with the files that a test puts there.
class Host : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(root_); }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void put(const std::string& path, const std::string& text) const {
    make_directories(parent_directory(root_ + path));
    write_file_atomic(root_ + path, text);
  }

  const std::string root_ = ::testing::TempDir() + "host_test." + std::to_string(::getpid());
};

TEST_F(Host, ReadsProcessorAndMemory) {
  put("/proc/cpuinfo",
      "processor\t: 0\nmodel name\t: Fast Chip 9\ncpu MHz\t\t: 2100.5\nflags\t\t: fpu avx2 fma avx512f amx_tile "
      "avx2x\n\n"
      "processor\t: 1\nmodel name\t: Slow Chip\ncpu MHz\t\t: 2000.000\nflags\t\t: fpu f16c\n");
  put("/proc/meminfo", "MemTotal:       2048 kB\nMemFree:   1 kB\nMemAvailable:   1024 kB\n");
  const CpuFacts cpu = cpu_facts(root_);
  EXPECT_EQ(cpu.model, "Fast Chip 9");
  EXPECT_EQ(cpu.features, (std::vector<std::string>{"avx2", "fma", "avx512f", "amx_tile"}));
  EXPECT_EQ(cpu.clock_hz, 2100.5e6);
  EXPECT_GE(cpu.usable, 1);
  EXPECT_LE(cpu.usable, cpu.online);
  EXPECT_EQ(cpu.quota, std::nullopt);
  const MemoryFacts memory = memory_facts(root_);
  EXPECT_EQ(memory.total_bytes, 2048 * 1024);
  EXPECT_EQ(memory.available_bytes, 1024 * 1024);
  EXPECT_EQ(memory.limit_bytes, std::nullopt);
}

TEST_F(Host, TakesTheTightestLimitAboveTheProcess) {
  put("/proc/self/cgroup", "0::/box/job\n");
  put("/sys/fs/cgroup/box/job/cpu.max", "max 100000\n");
  put("/sys/fs/cgroup/box/cpu.max", "150000 100000\n");
  put("/sys/fs/cgroup/box/job/memory.max", "5000\n");
  put("/sys/fs/cgroup/box/memory.max", "4000\n");
  put("/sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(cpu_facts(root_).quota, 1.5);
  EXPECT_EQ(memory_facts(root_).limit_bytes, 4000);
}

// A container sees its own group mounted as the root.
TEST_F(Host, FindsTheGroupOfAContainer) {
  put("/proc/self/cgroup", "0::/../../elsewhere\n");
  put("/sys/fs/cgroup/cpu.max", "50000 100000");
  EXPECT_EQ(cpu_facts(root_).quota, 0.5);
}

TEST_F(Host, ReadsVersionOne) {
  put("/proc/self/cgroup", "4:memory:/a\n3:cpu,cpuacct:/a\n1:name=systemd:/a\n");
  put("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n");
  put("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(cpu_facts(root_).quota, 2.0);
  EXPECT_EQ(memory_facts(root_).limit_bytes, std::nullopt);
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "77\n");
  EXPECT_EQ(memory_facts(root_).limit_bytes, 77);
}

TEST_F(Host, SaysNothingWhereNothingIsSaid) {
  EXPECT_EQ(cpu_facts(root_).model, "");
  EXPECT_EQ(memory_facts(root_).total_bytes, 0);
  put("/proc/self/cgroup", "0::/\n");
  put("/sys/fs/cgroup/cpu.max", "nonsense");
  put("/sys/fs/cgroup/memory.max", "");
  EXPECT_EQ(cpu_facts(root_).quota, std::nullopt);
  EXPECT_EQ(memory_facts(root_).limit_bytes, std::nullopt);
  EXPECT_EQ(free_disk_bytes(root_ + "/nowhere"), 0);
}

TEST_F(Host, ReadsThisMachine) {
  EXPECT_GT(memory_facts().total_bytes, 0);
  EXPECT_LE(memory_facts().available_bytes, memory_facts().total_bytes);
  EXPECT_GT(free_disk_bytes(::testing::TempDir()), 0);
}

TEST_F(Host, FindsProgramsInThePath) {
  put("/a/tool", "not executable");
  put("/b/tool", "executable");
  make_directories(root_ + "/c/other");
  ::chmod((root_ + "/b/tool").c_str(), 0755);
  const std::string path = root_ + "/a:" + root_ + "/b:" + root_ + "/c";
  EXPECT_EQ(find_program("tool", path), root_ + "/b/tool");
  EXPECT_EQ(find_program("other", path), "");
}

}  // namespace
}  // namespace centavo
