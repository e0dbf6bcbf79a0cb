// The CPU machine as one rank of several: which programs it refuses, and what its messages say.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/errors.h"
#include "machine/comm/self.h"
#include "machine/comm/threads.h"
#include "machine/cpu/cpu_machine.h"
#include "ops/all.h"
#include "passes/place.h"
#include "program/text.h"
#include "program/verify.h"

namespace centavo::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Gathers the part that lies at `at`, and counts steps.
std::string gathering(int64_t ranks, int64_t members, int64_t stride, int64_t at) {
  return fmt::format(
      "centavo 1\nranks {}\nbuffer step i64[1] control persistent\n"
      "buffer full f32[{}] parameter persistent\nbuffer shard f32[8] parameter persistent view=full+{}\n"
      "section only\n  %1 full = all_gather(shard) ranks={} stride={}\n  %2 step = advance(step)\nstep only\n",
      ranks, 8 * members, at, members, stride);
}

std::unique_ptr<CpuMachine> machine_of(const std::string& text, Communicator* communicator) {
  const OpTable ops = all_ops();
  Program program = place(add_cpu_workspaces(parse(text), ops, {1, communicator}));
  verify(program, ops);
  return std::make_unique<CpuMachine>(std::move(program), ops,
                                      CpuMachine::Options{.threads = 1, .communicator = communicator});
}

std::string problem_of(const std::string& text, Communicator* communicator) {
  try {
    machine_of(text, communicator);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(CpuMachineRanks, RefusesAProgramForAnotherNumber) {
  SelfCommunicator self;
  ThreadWorld world(4);
  const std::string two = gathering(2, 2, 1, 0);
  EXPECT_THAT(problem_of(two, nullptr), HasSubstr("for 2 ranks and this is one process; use ranks 1"));
  EXPECT_THAT(problem_of(two, &self), HasSubstr("for 2 ranks and this is one process; use ranks 1"));
  EXPECT_THAT(problem_of(two, &world.of(3)), HasSubstr("for 2 ranks and 4 run; start as many"));
}

TEST(CpuMachineRanks, RefusesAProgramForAnotherRank) {
  ThreadWorld world(4);
  EXPECT_EQ(problem_of(gathering(4, 4, 1, 16), &world.of(2)), "");
  EXPECT_EQ(problem_of(gathering(4, 2, 2, 8), &world.of(2)), "");
  EXPECT_THAT(problem_of(gathering(4, 4, 1, 8), &world.of(2)),
              HasSubstr("overlap at part 1 of 4, and this rank has part 2; make the program for this rank"));
}

TEST(CpuMachineRanks, RefusesGroupsThatDoNotFillTheWorld) {
  ThreadWorld world(4);
  EXPECT_THAT(problem_of(gathering(4, 3, 1, 0), &world.of(0)),
              HasSubstr("groups of 3 ranks with stride 1 do not fill 4 ranks"));
  EXPECT_THAT(problem_of(gathering(4, 4, 2, 0), &world.of(0)), HasSubstr("do not fill 4 ranks"));
}

// Rank 1 stops after two steps: the others say in which op of which step they waited for it.
TEST(CpuMachineRanks, MessagesNameTheOpAndTheStep) {
  ThreadWorld world(2);
  const auto body = [](Communicator& c) {
    c.set_deadline(0.1);
    const auto machine = machine_of(gathering(2, 2, 1, 8 * c.rank()), &c);
    machine->step();
    machine->step();
    if (c.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(400));
    machine->step();
  };
  try {
    world.run(body);
    FAIL() << "nobody noticed";
  } catch (const RankError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("rank 1 on host "),
                                    HasSubstr(" did not answer within 0.1 s, for which rank 0 on host "),
                                    HasSubstr(" at %1 all_gather shard of step 2 waited")));
  }
}

}  // namespace
}  // namespace centavo::testing
