#include "machine/gpu_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace centavo {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kNobody = 4'000'000;  // above every process id

TEST(GpuMemory, OthersAreNamed) {
  const GpuMemory memory{"GPU X", 16 * kGiB, 2 * kGiB, {{kNobody, 12 * kGiB}, {::getpid(), kGiB}, {kNobody + 1, {}}}};
  EXPECT_EQ(
      held_by_others("the run", 9 * kGiB, memory),
      "the run needs 9.0 GiB of memory and 2.0 GiB of the 16.0 GiB of GPU X are free, the rest is held by process "
      "4000000 (12.0 GiB), process 4000001; end what need not run, or use memory = \"…GiB\" or a smaller "
      "micro_batch");
}

TEST(GpuMemory, ProcessesOfOtherContainersAreNotNamed) {
  const GpuMemory memory{"GPU X", 16 * kGiB, 2 * kGiB, {{::getpid(), kGiB}}};
  EXPECT_NE(held_by_others("the run", 9 * kGiB, memory).find("held by other processes, which nvidia-smi"),
            std::string::npos);
}

TEST(GpuMemory, APlanThatIsTooLargeIsNobodysFault) {
  EXPECT_EQ(held_by_others("the run", 16 * kGiB, {"GPU X", 16 * kGiB, 2 * kGiB, {}}), "");
  EXPECT_EQ(held_by_others("the run", 2 * kGiB, {"GPU X", 16 * kGiB, 2 * kGiB, {}}), "");
}

}  // namespace
}  // namespace centavo
