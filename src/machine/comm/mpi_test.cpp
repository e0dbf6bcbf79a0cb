#include "machine/comm/mpi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "base/host.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace centavo::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string program(const std::string& name) {
  const char* path = std::getenv("PATH");
  return find_program(name, path == nullptr ? "" : path);
}

// `mpi_ranks ARGS…` as three ranks; ranks may outnumber processors, and root may run them in a container.
Outcome run_ranks(const std::vector<std::string>& args) {
  std::vector<std::string> all = {"OMPI_ALLOW_RUN_AS_ROOT=1",
                                  "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                  "OMP_NUM_THREADS=1",
                                  "ASAN_OPTIONS=detect_leaks=0",  // Open MPI keeps what it has to its end
                                  program("mpirun"),
                                  "--oversubscribe",
                                  "--bind-to",
                                  "none",
                                  "-n",
                                  "3",
                                  mpi_ranks_path()};
  all.insert(all.end(), args.begin(), args.end());
  return Process(all, {.program = program("env")}).wait();
}

class MpiRanks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (program("mpirun").empty()) GTEST_SKIP() << "mpirun is not installed; install openmpi-bin";
  }
};

TEST_F(MpiRanks, DoAllThatRanksDo) {
  const Outcome outcome = run_ranks({"checks", "1073741824"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* rank : {"rank 0", "rank 1", "rank 2"}) {
    EXPECT_THAT(outcome.out, HasSubstr(std::string(rank) + " of 3 is through"));
  }
}

TEST_F(MpiRanks, CutLongMessages) {
  const Outcome outcome = run_ranks({"checks", "4096"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

TEST_F(MpiRanks, NameARankThatDoesNotAnswerAndEndTheWorld) {
  const auto start = std::chrono::steady_clock::now();
  const Outcome outcome = run_ranks({"silent"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("rank 1 on host "), HasSubstr(" did not answer within 0.3 s"),
                                 HasSubstr("at %12 reduce_scatter layers.0.grad of step 7")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(40));  // rank 1 sleeps for 60
}

TEST_F(MpiRanks, NameTheSenderOfAnotherSize) {
  struct Sizes {
    const char* sent;
    const char* expected;
    const char* text;
  };
  // With pieces of 4096 bytes: one too long, one too short, a piece too many, a piece too few.
  for (const auto& [sent, expected, text] : {Sizes{"8", "4", "sent more"},
                                             {"4", "8", "sent 4 bytes"},
                                             {"8192", "4096", "sent more"},
                                             {"4096", "8192", "sent 4096 bytes"}}) {
    const Outcome outcome = run_ranks({"sizes", sent, expected, "4096"});
    EXPECT_EQ(outcome.code, 4);
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("rank 1: rank 0 on host "), HasSubstr(text),
                                   HasSubstr(std::string("expected ") + expected + " bytes")));
  }
}

TEST_F(MpiRanks, EndTheWorldWhenOneFails) {
  const Outcome outcome = run_ranks({"fails"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, HasSubstr("rank 2: the disk is full"));
}

TEST_F(MpiRanks, EndTheWorldWhenOneLeaves) {
  const Outcome outcome = run_ranks({"leaves"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, HasSubstr("rank 2: the disk is full"));
}

}  // namespace
}  // namespace centavo::testing
