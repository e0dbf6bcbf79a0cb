#include "machine/comm/threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/between_ranks.h"
#include "base/errors.h"
#include "machine/comm/self.h"
#include "tests/support/rank_checks.h"

namespace centavo::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class ThreadRanks : public ::testing::TestWithParam<int64_t> {};

TEST_P(ThreadRanks, Agree) { EXPECT_NO_THROW(ThreadWorld(GetParam()).run(check_agreements)); }
TEST_P(ThreadRanks, SendMessages) { EXPECT_NO_THROW(ThreadWorld(GetParam()).run(check_messages)); }
TEST_P(ThreadRanks, DoCollectives) { EXPECT_NO_THROW(ThreadWorld(GetParam()).run(check_collectives)); }

INSTANTIATE_TEST_SUITE_P(Worlds, ThreadRanks, ::testing::Values(1, 2, 3, 4, 5));

TEST(SelfCommunicator, IsAWorldOfItsOwn) {
  SelfCommunicator self;
  EXPECT_EQ(self.ranks(), 1);
  EXPECT_FALSE(self.host_of(0).empty());
  EXPECT_NO_THROW(check_agreements(self));
  EXPECT_NO_THROW(check_collectives(self));
}

// What each rank threw; empty for none.
std::vector<std::string> errors_of(int64_t ranks, const std::function<void(Communicator&)>& body) {
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  ThreadWorld world(ranks);
  try {
    world.run([&](Communicator& c) {
      try {
        body(c);
      } catch (const RankError& error) {
        errors[static_cast<size_t>(c.rank())] = error.what();
        throw;
      }
    });
  } catch (const std::exception& error) {
    errors.push_back(error.what());
  }
  return errors;
}

TEST(ThreadWorld, NamesTheRanksThatDoNotAnswer) {
  const auto errors = errors_of(4, [](Communicator& c) {
    c.set_deadline(0.1);
    c.at("%12 reduce_scatter layers.0.grad", 7);
    if (c.rank() == 1 || c.rank() == 3) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    barrier(c);
  });
  ASSERT_EQ(errors.size(), 5U);
  EXPECT_THAT(errors[4], AllOf(HasSubstr("rank 1 on host "), HasSubstr(", rank 3 on host "),
                               HasSubstr("did not answer within 0.1 s, for which rank "),
                               HasSubstr("at %12 reduce_scatter layers.0.grad of step 7")));
  EXPECT_NE(errors[0], "");
  EXPECT_NE(errors[2], "");
}

// The deadline counts silence, not the whole of an exchange.
TEST(ThreadWorld, WaitsForRanksThatAreLateOneAfterTheOther) {
  const auto errors = errors_of(4, [](Communicator& c) {
    c.set_deadline(0.4);
    std::this_thread::sleep_for(std::chrono::milliseconds(200 * c.rank()));
    barrier(c);
  });
  EXPECT_EQ(errors, std::vector<std::string>(4));
}

TEST(ThreadWorld, NamesARankThatFailed) {
  const auto errors = errors_of(3, [](Communicator& c) {
    if (c.rank() == 2) throw UserError("the disk is full");
    barrier(c);
  });
  ASSERT_EQ(errors.size(), 4U);
  EXPECT_EQ(errors[3], "the disk is full");
  EXPECT_THAT(errors[0], AllOf(HasSubstr("rank 2 on host "), HasSubstr("failed while rank 0 on host "),
                               HasSubstr("needed it: the disk is full")));
  EXPECT_THAT(errors[1], HasSubstr("rank 2 on host "));
}

void send_sizes(Communicator& c, size_t sent, size_t expected) {
  const std::vector<std::byte> out(sent);
  std::vector<std::byte> in(expected);
  const Send send{1, out};
  const Receive receive{0, in};
  if (c.rank() == 0) c.exchange({&send, 1}, {});
  if (c.rank() == 1) c.exchange({}, {&receive, 1});
}

TEST(ThreadWorld, NamesTheSenderOfAnotherSize) {
  using Sizes = std::pair<size_t, size_t>;  // sent, expected
  for (const Sizes& s : {Sizes{8, 4}, Sizes{4, 8}, Sizes{0, 1}}) {
    const auto errors = errors_of(2, [&](Communicator& c) { send_sizes(c, s.first, s.second); });
    ASSERT_EQ(errors.size(), 3U);
    EXPECT_THAT(errors[1], AllOf(HasSubstr(fmt::format("sent {} bytes where rank 1 on host ", s.first)),
                                 HasSubstr(fmt::format("expected {} bytes", s.second)), Not(HasSubstr("rank 2"))));
    EXPECT_THAT(errors[0], HasSubstr("rank 1 on host "));
  }
}

TEST(ThreadWorldDeathTest, PeersAreOtherRanks) {
  SelfCommunicator self;
  const Send send{0, {}};
  EXPECT_DEATH(self.exchange({&send, 1}, {}), "rank 0 of 1 has no peer 0");
}

}  // namespace
}  // namespace centavo::testing
