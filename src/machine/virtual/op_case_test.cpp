#include <gmock/gmock.h>

#include "machine/virtual/profile.h"
#include "program/builder.h"
#include "program/text.h"
#include "tests/support/models.h"

namespace centavo {
namespace {

using ::testing::ElementsAre;
using testing::test_ops;

constexpr const char* kText = R"(centavo 1
buffer x f32[6, 4] parameter persistent
buffer w f32[8, 4] parameter persistent
buffer y f32[6, 8] activation
buffer qkv f32[6, 12] parameter persistent
buffer cu_seqlens i32[7] parameter persistent
buffer a f32[6, 4] activation
buffer lse f32[1, 6] activation
section only
  %1 y = linear(x, w) scale=1.0
  %2 +y = linear(x, w) scale=1.0
  %3 a, lse = attention(qkv, cu_seqlens) heads=1 kv_heads=1 max_seqlen=3 uniform=0 window=0
step only
)";

OpCase case_at(const Program& program, size_t i) { return case_of(test_ops(), program, program.sections[0].ops[i]); }

TEST(OpCase, NamesDtypesAbsenceAndBindings) {
  const Program program = parse(kText);
  EXPECT_EQ(case_at(program, 0).signature, "linear f32 f32 - - - > f32");
  EXPECT_EQ(case_at(program, 1).signature, "linear f32 f32 - - - > f32+");
  EXPECT_THAT(case_at(program, 0).extents, ElementsAre(6, 4, 8, 4, 6, 8));
  EXPECT_EQ(case_at(program, 0).cost.flops, 2.0 * 6 * 4 * 8);
  EXPECT_EQ(case_at(program, 2).signature, "attention f32 i32 - - - > f32 f32 - -");
  EXPECT_THAT(case_at(program, 2).extents, ElementsAre(6, 12, 7, 6, 4, 1, 6, 1, 1, 3, 0, 0));
}

TEST(OpCase, SaysWhatWaitsOnTheHost) {
  const Program program = parse(
      "centavo 1\nbuffer x f32[4] parameter persistent\nbuffer y f32[4] activation host\nsection only\n"
      "  %1 y = copy(x)\nstep only\n");
  EXPECT_EQ(case_at(program, 0).signature, "copy f32 > f32@host");
}

// Three tokens see 1 + 2 + 3 keys, twice.
TEST(OpCase, AttentionFollowsTheLengthOfDocuments) { EXPECT_EQ(case_at(parse(kText), 2).cost.flops, 4.0 * 12 * 4); }

}  // namespace
}  // namespace centavo
