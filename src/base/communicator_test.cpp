#include "base/communicator.h"

#include <gtest/gtest.h>

#include <utility>

namespace centavo {
namespace {

class Alone : public Communicator {
 public:
  Alone() : Communicator(0, {"a"}) {}
  void exchange(std::span<const Send>, std::span<const Receive>) override {}
};

TEST(Communicator, TellsItsObserverWhatItIsTold) {
  Alone communicator;
  communicator.at("nobody listens", 1);
  std::vector<std::pair<std::string, int64_t>> heard;
  communicator.observe([&](std::string_view what, int64_t step) { heard.emplace_back(what, step); });
  communicator.at("%1 all_gather", 2);
  communicator.at("%2 reduce_scatter", 3);
  communicator.observe({});
  communicator.at("nobody listens again", 4);
  EXPECT_EQ(heard, (decltype(heard){{"%1 all_gather", 2}, {"%2 reduce_scatter", 3}}));
}

using Members = std::vector<int64_t>;

TEST(Group, NeighboursAndStrides) {
  EXPECT_EQ(members_of({4, 1}, 6), (Members{4, 5, 6, 7}));
  EXPECT_EQ(members_of({2, 4}, 6), (Members{2, 6}));
  EXPECT_EQ(members_of({2, 2}, 5), (Members{5, 7}));
  EXPECT_EQ(members_of({1, 3}, 5), (Members{5}));
}

TEST(Group, EveryMemberKnowsTheSameGroup) {
  for (const Group group : {Group{1, 1}, {2, 1}, {2, 3}, {3, 2}, {3, 4}, {6, 2}, {12, 1}}) {
    for (int64_t rank = 0; rank < 24; ++rank) {
      EXPECT_EQ(group.member(rank, group.index_of(rank)), rank);
      for (const int64_t peer : members_of(group, rank)) EXPECT_EQ(members_of(group, peer), members_of(group, rank));
    }
  }
}

}  // namespace
}  // namespace centavo
