#include "base/communicator.h"

#include <gtest/gtest.h>

namespace centavo {
namespace {

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
