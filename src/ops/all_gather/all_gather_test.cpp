#include "ops/all_gather/all_gather.h"

#include <gtest/gtest.h>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward of(const Shape& shard, int64_t ranks) {
  return [=](Builder& b) { all_gather(b, b.parameter("shard", shard), "full", Group{ranks}); };
}

TEST(AllGather, OneRankCopies) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t n : {1, 31, 32, 33, 127, 4096, 100001}) {
      const Program program = build(of({n}, 1), dtype);
      const Tensors out = run_step(program, random_inputs(program));
      EXPECT_EQ(out.at("full"), out.at("shard"));
    }
  }
}

TEST(AllGather, InPlace) {
  const Forward forward = [](Builder& b) {
    const BufferId full = b.parameter("full", {1000});
    all_gather(b, full, full, Group{});
  };
  const Tensors in = {{"full", std::vector<double>(1000, 1.5)}};
  EXPECT_EQ(run_step(build(forward), in).at("full"), in.at("full"));
}

TEST(AllGather, ShapeAndRingTraffic) {
  const Program program = build(of({1024}, 4), DType::bf16);
  EXPECT_EQ(program.buffer(program.find("full")).shape, Shape{4096});
  EXPECT_EQ(program.buffer(program.find("full")).dtype, DType::bf16);
  const Cost cost = all_gather_def().cost(OpView(program, program.sections[0].ops[0]));
  EXPECT_EQ(cost.wire_bytes, 3 * 2048);  // every shard but one passes through each rank
  EXPECT_EQ(cost.bytes, 2048 + 8192);
}

TEST(AllGather, Repeatable) { expect_repeatable(of({4097}, 1), random_inputs(build(of({4097}, 1))), DType::bf16); }

TEST(AllGather, Rejects) {
  expect_shape_error(of({2, 3}, 1), "shard must be flat");
  expect_shape_error(of({6}, 0), "ranks must be at least 1");
}

}  // namespace
}  // namespace centavo::testing
