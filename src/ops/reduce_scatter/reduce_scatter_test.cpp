#include "ops/reduce_scatter/reduce_scatter.h"

#include <gtest/gtest.h>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward of(const Shape& full, int64_t ranks) {
  return [=](Builder& b) { reduce_scatter(b, b.parameter("full", full), "shard", Group{ranks}); };
}

Forward adding(int64_t n) {
  return [=](Builder& b) {
    const BufferId shard = b.parameter("shard", {n});
    reduce_scatter(b, b.parameter("full", {n}), Into(shard, Bind::add), Group{});
  };
}

TEST(ReduceScatter, OneRankCopies) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t n : {1, 31, 32, 33, 127, 4096, 100001}) {
      const Program program = build(of({n}, 1), dtype);
      const Tensors out = run_step(program, random_inputs(program));
      EXPECT_EQ(out.at("shard"), out.at("full"));
    }
  }
}

TEST(ReduceScatter, OneRankAddsWithOneRounding) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t n : {1, 31, 32, 33, 127, 4096, 100001}) {
      const Program program = build(adding(n), dtype);
      const Tensors in = random_inputs(program);
      const Tensors out = run_step(program, in);
      std::vector<double> expected(in.at("shard").size());
      visit_compute(dtype, [&](auto tag) {
        using T = typename decltype(tag)::type;
        using A = Accumulator<T>;
        const auto stored = [](double x) { return convert<A>(convert<T>(x)); };
        for (size_t i = 0; i < expected.size(); ++i) {
          const A sum = stored(in.at("shard")[i]) + stored(in.at("full")[i]);
          expected[i] = convert<double>(convert<T>(sum));
        }
      });
      EXPECT_EQ(out.at("shard"), expected);
    }
  }
}

TEST(ReduceScatter, ShapeAndRingTraffic) {
  const Program program = build(of({4096}, 4));
  EXPECT_EQ(program.buffer(program.find("shard")).shape, Shape{1024});
  const Cost cost = reduce_scatter_def().cost(OpView(program, program.sections[0].ops[0]));
  EXPECT_EQ(cost.wire_bytes, 3 * 4096);
  EXPECT_EQ(cost.flops, 3 * 1024);
}

TEST(ReduceScatter, Repeatable) { expect_repeatable(adding(50001), random_inputs(build(adding(50001))), DType::bf16); }

TEST(ReduceScatter, Rejects) {
  expect_shape_error(of({2, 3}, 1), "full must be flat");
  expect_shape_error(of({6}, 4), "full has 6 elements, not a multiple of 4 ranks");
  expect_shape_error(of({6}, 0), "ranks must be at least 1");
}

}  // namespace
}  // namespace centavo::testing
