#include "ops/all_reduce/all_reduce.h"

#include <gtest/gtest.h>

#include "ops/collective/group.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward of(const Shape& x, int64_t ranks) {
  return [=](Builder& b) { all_reduce(b, b.parameter("x", x), "y", Group{ranks}); };
}

Forward in_place(const Shape& shape) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", shape);
    all_reduce(b, x, x, Group{});
  };
}

TEST(AllReduce, OneRankCopies) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t n : {1, 31, 32, 33, 127, 4096, 50001}) {
      const Program program = build(of({2, n}, 1), dtype);
      const Tensors out = run_step(program, random_inputs(program));
      EXPECT_EQ(out.at("y"), out.at("x"));
    }
  }
}

TEST(AllReduce, InPlace) {
  const Tensors in = {{"x", std::vector<double>(33, 0.5)}};
  EXPECT_EQ(run_step(build(in_place({33})), in).at("x"), in.at("x"));
}

TEST(AllReduce, RingTraffic) {
  const Program program = build(of({2, 512}, 4));
  const Cost cost = all_reduce_def().cost(OpView(program, program.sections[0].ops[0]));
  EXPECT_EQ(cost.wire_bytes, 2 * 3 * 1024);  // reduce_scatter, then all_gather
  EXPECT_EQ(ring_bytes(4096, 1), 0);
}

TEST(AllReduce, Repeatable) { expect_repeatable(of({3, 1000}, 1), random_inputs(build(of({3, 1000}, 1))), DType::f32); }

TEST(AllReduce, Rejects) { expect_shape_error(of({6}, 0), "ranks must be at least 1"); }

TEST(AllReduceDeathTest, SeveralMembersNeedACommunicator) {
  const Program program = build(of({8}, 2));
  EXPECT_DEATH(all_reduce_def().cpu(OpView(program, program.sections[0].ops[0]), {}), "nobody to talk to");
}

}  // namespace
}  // namespace centavo::testing
