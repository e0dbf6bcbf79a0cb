#include "ops/rope/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

constexpr double kTheta = 10000.0;

struct Size {
  int64_t rows;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
};

// qkv is trainable so that its gradient is checked.
Forward rotated(Size n) {
  return [=](Builder& b) {
    const BufferId qkv = b.parameter("qkv", {n.rows, (n.heads + 2 * n.kv_heads) * n.head_dim});
    const BufferId positions = b.stream_in("positions", DType::i32, {n.rows});
    rope(b, "y", qkv, rope_table(b, "table", positions, n.head_dim, kTheta), n.heads, n.kv_heads);
  };
}

// Documents packed into one row of tokens: positions start anew every 13 tokens, each document further out.
Tensors inputs(const Forward& forward, int64_t rows) {
  Tensors in = random_inputs(build(forward));
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t position = r % 13 + 977 * (r / 13);
    in["positions"].push_back(static_cast<double>(position));
  }
  return in;
}

TEST(Rope, TableByHand) {
  const Forward forward = [](Builder& b) {
    rope_table(b, "table", b.stream_in("positions", DType::i32, {2}), 4, 100.0);
  };
  // theta^(-2/4) = 1 / 10
  const Tensors out = run_step(build(forward, DType::f64), {{"positions", {0, 3}}});
  const std::vector<double> expected = {1, 1, 0, 0, std::cos(3), std::cos(0.3), std::sin(3), std::sin(0.3)};
  expect_near(out.at("table"), expected, 4 * unit_roundoff(DType::f64), "table");
}

TEST(Rope, PairsAreHalvesAndValuesStay) {
  const Forward forward = [](Builder& b) {
    const BufferId table = b.stream_in("table", accumulator_of(b.compute()), {1, 4});
    rope(b, "y", b.parameter("qkv", {1, 12}), table, 1, 1);
  };
  // Pair 0 turns by 90 degrees, pair 1 stays.
  const Tensors in = {{"table", {0, 1, 1, 0}}, {"qkv", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}};
  const std::vector<double> expected = {-3, 2, 1, 4, -7, 6, 5, 8, 9, 10, 11, 12};
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    EXPECT_EQ(run_step(build(forward, dtype), in).at("y"), expected) << name_of(dtype);
  }
}

TEST(Rope, GradientIsTheOppositeTurn) {
  const Forward there_and_back = [](Builder& b) {
    const BufferId qkv = b.parameter("qkv", {5, 4 * 6});
    const BufferId table = rope_table(b, "table", b.stream_in("positions", DType::i32, {5}), 6, kTheta);
    const BufferId y = rope(b, "y", qkv, table, 2, 1);
    b.call("rope_grad", {y, table}, {"back"}, {{"heads", int64_t{2}}, {"kv_heads", int64_t{1}}});
  };
  const Tensors in = inputs(there_and_back, 5);
  const Tensors out = run_step(build(there_and_back, DType::f64), in);
  // 6 u for each of two turns
  expect_near(out.at("back"), in.at("qkv"), 12 * unit_roundoff(DType::f64), "back");
}

TEST(Rope, Gradients) {
  for (const Size n : {Size{3, 1, 1, 2}, Size{2, 4, 2, 6}, Size{15, 2, 1, 4}}) {
    expect_gradients(rotated(n), inputs(rotated(n), n.rows), {"y"});
  }
}

TEST(Rope, EveryDtypeAndAwkwardSize) {
  for (const Size n :
       {Size{1, 1, 1, 2}, Size{31, 3, 1, 32}, Size{33, 4, 2, 66}, Size{127, 1, 1, 34}, Size{2, 1, 1, 4096}}) {
    const Forward forward = rotated(n);
    const Tensors in = inputs(forward, n.rows);
    // A turn keeps a^2 + b^2, so |a| + |b| is at most twice the largest |y|: 3 u (|a| + |b|) <= 6 u max |y|.
    const double bound = 6 * unit_roundoff(DType::f32);
    expect_close_to_f64(forward, in, DType::f32, {"y"}, bound);
    expect_close_to_f64(forward, in, DType::f32, {"table"}, 1.01 * unit_roundoff(DType::f32));
    expect_close_to_f64(forward, in, DType::bf16, {"y"}, bound + 1.01 * unit_roundoff(DType::bf16));
  }
}

TEST(Rope, Repeatable) {
  const Forward forward = rotated({65, 4, 2, 34});
  expect_repeatable(forward, inputs(forward, 65), DType::f32);
  expect_repeatable(forward, inputs(forward, 65), DType::bf16);
}

TEST(Rope, RejectsShapes) {
  const auto with = [](const Shape& qkv, const Shape& table, int64_t heads) {
    return
        [=](Builder& b) { rope(b, "y", b.parameter("qkv", qkv), b.stream_in("table", DType::f32, table), heads, 1); };
  };
  expect_shape_error(with({2, 12}, {2, 6}, 1), "table must be [2, 4]");
  expect_shape_error(with({2, 12}, {3, 4}, 1), "table must be [2, 4]");
  expect_shape_error(with({2, 9}, {2, 3}, 1), "3 heads of an even size");
  expect_shape_error(with({2, 12}, {2, 4}, 0), "must be positive");
  expect_shape_error([](Builder& b) { rope_table(b, "t", b.stream_in("p", DType::i32, {2}), 5, kTheta); },
                     "head_dim must be even");
  expect_shape_error(
      [](Builder& b) {
        rope_table(b, "t", b.stream_in("p", DType::i32, {2, 2}), 4, kTheta);
      },
      "positions must be [N]");
}

}  // namespace
}  // namespace centavo::testing
