#include "base/gpus.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/files.h"

namespace centavo {
namespace {

TEST(Gpus, ReadsTheKernelModule) {
  const std::string root = ::testing::TempDir() + "gpus_test." + std::to_string(::getpid());
  EXPECT_EQ(gpu_facts(root).driver_version, "");
  EXPECT_EQ(gpu_facts(root).kernel_gpus, 0);
  make_directories(root + "/proc/driver/nvidia/gpus/0000:18:00.0");
  make_directories(root + "/proc/driver/nvidia/gpus/0000:2a:00.0");
  write_file_atomic(root + "/proc/driver/nvidia/version",
                    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
                    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n");
  EXPECT_EQ(gpu_facts(root).driver_version, "550.54.15");
  EXPECT_EQ(gpu_facts(root).kernel_gpus, 2);
  write_file_atomic(root + "/proc/driver/nvidia/version",
                    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65  Release Build\n");
  EXPECT_EQ(gpu_facts(root).driver_version, "580.65");
  std::filesystem::remove_all(root);
}

// With a driver there are GPUs or a reason why not; without one there is neither.
TEST(Gpus, TheLibraryNamesGpusOrAReason) {
  const GpuFacts facts = gpu_facts();
  if (!facts.has_library) {
    EXPECT_TRUE(facts.gpus.empty());
    EXPECT_EQ(facts.failure, "");
  } else {
    EXPECT_NE(facts.cuda_version, "");
    EXPECT_EQ(facts.gpus.empty(), !facts.failure.empty());
  }
  for (const DriverGpu& gpu : facts.gpus) EXPECT_GT(gpu.memory_bytes, 0) << gpu.name;
}

}  // namespace
}  // namespace centavo
