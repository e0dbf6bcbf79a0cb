#include "machine/gpu_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace centavo {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kNobody = 4'000'000;  // above every process id

TEST(GpuMemory, OthersAreNamed) {
  const GpuMemory memory{
      "GPU X", 16 * kGiB, 2 * kGiB, 0, {{kNobody, 12 * kGiB}, {::getpid(), kGiB}, {kNobody + 1, {}}}};
  EXPECT_EQ(
      held_by_others("the run", 9 * kGiB, memory),
      "the run needs 9.0 GiB of memory and 2.0 GiB of the 16.0 GiB of GPU X are free, the rest is held by process "
      "4000000 (12.0 GiB), process 4000001; end what need not run, or use memory = \"…GiB\" or a smaller "
      "micro_batch");
}

TEST(GpuMemory, ProcessesOfOtherContainersAreNotNamed) {
  const std::vector<GpuProcess> own{{::getpid(), kGiB}};
  const std::vector<GpuProcess> ids_of_the_host{{kNobody, 12 * kGiB}, {kNobody + 1, kGiB}};
  for (const auto& processes : {own, ids_of_the_host, {}}) {
    const GpuMemory memory{"GPU X", 16 * kGiB, 2 * kGiB, 0, processes};
    EXPECT_NE(held_by_others("the run", 9 * kGiB, memory).find("the rest is held by other processes, which nvidia-smi"),
              std::string::npos);
  }
}

TEST(GpuMemory, WhatIsHeldHereIsNobodyElses) {
  const GpuMemory memory{"GPU X", 16 * kGiB, 2 * kGiB, 13 * kGiB, {{::getpid(), 14 * kGiB}}};
  EXPECT_EQ(held_by_others("the plan", 3 * kGiB, memory), "");
  const GpuMemory shared{"GPU X", 16 * kGiB, 2 * kGiB, 8 * kGiB, {}};
  EXPECT_NE(held_by_others("the plan", 3 * kGiB, shared).find("8.0 GiB are this run's own and the rest is held by"),
            std::string::npos);
}

TEST(GpuMemory, APlanThatIsTooLargeIsNobodysFault) {
  EXPECT_EQ(held_by_others("the run", 16 * kGiB, {"GPU X", 16 * kGiB, 2 * kGiB, 0, {}}), "");
  EXPECT_EQ(held_by_others("the run", 2 * kGiB, {"GPU X", 16 * kGiB, 2 * kGiB, 0, {}}), "");
}

}  // namespace
}  // namespace centavo
