// The parts of the launcher that need no ranks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/errors.h"
#include "cli/rank_place.h"
#include "cli/rank_words.h"

namespace centavo::testing {
namespace {

const std::string kBorder(74, '-');

TEST(RankWords, AreThoseOfTheRanksAlone) {
  RankWords words;
  const std::string said = "loss 3.1\n" + kBorder + "\nPrimary job  terminated normally\n" + kBorder +
                           "\n[vm:1] 2 more processes have sent help "
                           "message help-mpi-api.txt / mpi-abort\n" +
                           kBorder +
                           "\nmpirun noticed that process rank 1 with PID 0 on node vm exited on signal 9 "
                           "(Killed).\n" +
                           kBorder + "\ncentavo: a\ncentavo: a\ncentavo: b\nmore";
  std::string passed;
  for (const char byte : said) passed += words.take(std::string_view(&byte, 1));  // in the smallest pieces
  passed += words.rest();
  EXPECT_EQ(passed, "loss 3.1\ncentavo: a\ncentavo: b\nmore\n");
  ASSERT_TRUE(words.notice().has_value());
  EXPECT_EQ(words.notice()->rank, 1);
  EXPECT_EQ(words.notice()->signal, 9);
  EXPECT_EQ(words.banner(), "Primary job  terminated normally");
}

TEST(RankWords, TheSameOfSeveralRanksIsSaidOnce) {
  RankWords words;
  EXPECT_FALSE(words.said());
  EXPECT_EQ(
      words.take("centavo: rank 1 on host a: no room: x\ncentavo: rank 2 on host b: no room: x\ncentavo: rank 0 on "
                 "host a: no room: y\n"),
      "centavo: rank 1 on host a: no room: x\ncentavo: rank 0 on host a: no room: y\n");
  EXPECT_TRUE(words.said());
}

TEST(RankWords, ALineOfDashesSilencesNobodyForLong) {
  RankWords words;
  std::string passed = words.take(kBorder + "\n");
  for (int i = 0; i < 100; ++i) passed += words.take("word\n");
  EXPECT_THAT(passed, ::testing::HasSubstr("word"));
}

std::optional<RankPlace> place(const std::map<std::string, const char*>& variables) {
  return rank_place([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second;
  });
}

TEST(RankPlace, IsReadFromEachLauncher) {
  EXPECT_FALSE(place({}).has_value());
  EXPECT_EQ(place({{"OMPI_COMM_WORLD_SIZE", "4"}})->ranks, 4);
  EXPECT_EQ(place({{"PMIX_RANK", "0"}})->ranks, 0);
  EXPECT_EQ(place({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "8"}})->ranks, 8);
  EXPECT_EQ(place({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}})->ranks, 2);
  EXPECT_FALSE(place({{"PMI_RANK", "1"}}).has_value());
  EXPECT_FALSE(place({{"SLURM_NTASKS", "8"}}).has_value());  // a batch script
  EXPECT_FALSE(place({{"SLURM_STEP_NUM_TASKS", "1"}}).has_value());
  EXPECT_THROW(place({{"SLURM_STEP_NUM_TASKS", "2"}}), UserError);
}

}  // namespace
}  // namespace centavo::testing
