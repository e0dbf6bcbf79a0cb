// Outputs inside inputs and around them: Slot::own_part.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/all.h"
#include "program/lifetime.h"
#include "program/text.h"
#include "program/verify.h"

namespace centavo {
namespace {

using ::testing::HasSubstr;

std::string problem_of(const std::string& text) {
  try {
    verify(parse(text), all_ops());
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

std::string gathering(int shard_elements, int at) {
  return fmt::format(
      "centavo 1\nranks 4\nbuffer full f32[32] parameter persistent\n"
      "buffer shard f32[{}] parameter persistent view=full+{}\n"
      "section only\n  %1 full = all_gather(shard) ranks=4 stride=1\nstep only\n",
      shard_elements, at);
}

std::string reducing(int at, const char* sign) {
  return fmt::format(
      "centavo 1\nranks 4\nbuffer full f32[32] parameter persistent\n"
      "buffer shard f32[8] parameter persistent view=full+{}\n"
      "section only\n  %1 {}shard = reduce_scatter(full) ranks=4 stride=1\nstep only\n",
      at, sign);
}

TEST(OwnPart, EveryPartMayBeTheRanksOwn) {
  for (const int at : {0, 8, 16, 24}) {
    EXPECT_EQ(problem_of(gathering(8, at)), "");
    EXPECT_EQ(problem_of(reducing(at, "")), "");
  }
}

TEST(OwnPart, OtherOverlapsAreRefused) {
  for (const int at : {1, 4, 12, 23}) {
    EXPECT_THAT(problem_of(gathering(8, at)), HasSubstr("overlaps an input"));
    EXPECT_THAT(problem_of(reducing(at, "")), HasSubstr("overlaps an input"));
  }
  EXPECT_THAT(problem_of(reducing(8, "+")), HasSubstr("overlaps an input"));
}

TEST(OwnPart, OfBuffersThatBothReachBeyondEachOther) {
  const std::string text =
      "centavo 1\nranks 2\nbuffer flat f32[24] parameter persistent\n"
      "buffer full f32[16] parameter persistent view=flat+0\n"
      "buffer shard f32[8] parameter persistent view=flat+12\n"
      "section only\n  %1 full = all_gather(shard) ranks=2 stride=1\nstep only\n";
  EXPECT_THAT(problem_of(text), HasSubstr("overlaps an input"));
}

TEST(OwnPart, OtherOpsShareNothing) {
  const std::string text =
      "centavo 1\nbuffer full f32[32] parameter persistent\n"
      "buffer part f32[32] parameter persistent view=full+0\n"
      "section only\n  %1 part = add(full, full)\nstep only\n";
  EXPECT_THAT(problem_of(text), HasSubstr("overlaps an input"));
}

// The gather ends no life: what it reads was written into the same memory before.
TEST(OwnPart, AGatherInPlaceGoesOnWithTheLifeOfItsShard) {
  const Program program = parse(
      "centavo 1\nranks 4\nbuffer x f32[8] parameter persistent\nbuffer y f32[32] parameter persistent\n"
      "buffer full f32[32] activation\nbuffer shard f32[8] activation view=full+8\n"
      "section only\n  %1 shard = add(x, x)\n  %2 full = all_gather(shard) ranks=4 stride=1\n"
      "  %3 y = add(full, full)\nstep only\n");
  EXPECT_NO_THROW(verify(program, all_ops()));
  const std::vector<Life> lives = lifetimes(program, Order(program));
  ASSERT_EQ(lives.size(), 1U);
  EXPECT_EQ(lives[0].instances, (std::vector<int>{0, 1, 2}));
}

// A part that only the gather could have defined is not defined before it.
TEST(OwnPart, TheShardMustBeWrittenBeforeItIsGathered) {
  EXPECT_THAT(problem_of("centavo 1\nranks 4\nbuffer full f32[32] activation\n"
                         "buffer shard f32[8] activation view=full+8\n"
                         "section only\n  %1 full = all_gather(shard) ranks=4 stride=1\nstep only\n"),
              HasSubstr("shard is read before anything wrote it"));
}

}  // namespace
}  // namespace centavo
