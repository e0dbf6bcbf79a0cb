// What ranks say is the same over a network: the checks of tests/mpi_ranks/ on two hosts joined by TCP alone, through
// tests/support/two_hosts.sh.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace centavo::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kCannot = 77;

Outcome on_two_hosts(const std::vector<std::string>& words) {
  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // Open MPI keeps what it has to its end
  ::setenv("OMP_NUM_THREADS", "1", 1);
  return run(words, {.program = source_path("tests/support/two_hosts.sh")});
}

int64_t bytes_over_the_cable(const std::string& err) {
  const std::string before = "two_hosts: ";
  return std::atoll(err.c_str() + err.rfind(before) + before.size());
}

TEST(TwoHosts, RanksDoAllThatRanksDoOverTcp) {
  const Outcome outcome = on_two_hosts({"2", mpi_ranks_path(), "checks", "1073741824"});
  if (outcome.code == kCannot) GTEST_SKIP() << outcome.err;
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* rank : {"rank 0", "rank 1", "rank 2", "rank 3"}) {
    EXPECT_THAT(outcome.out, HasSubstr(std::string(rank) + " of 4 is through"));
  }
  EXPECT_GT(bytes_over_the_cable(outcome.err), 1'000'000);
}

TEST(TwoHosts, ExitCodesAndNamesOfHostsPass) {
  const Outcome outcome = on_two_hosts({"2", mpi_ranks_path(), "silent"});
  if (outcome.code == kCannot) GTEST_SKIP() << outcome.err;
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, HasSubstr("rank 1 on host hosta-"));
}

}  // namespace
}  // namespace centavo::testing
