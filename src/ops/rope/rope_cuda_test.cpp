#include <gtest/gtest.h>

#include "ops/rope/rope.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

constexpr double kTheta = 10000.0;
const double kF32 = unit_roundoff(DType::f32);
const double kBf16 = unit_roundoff(DType::bf16);

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

// The backward op alone, its output an ordinary value.
Forward turned_back(Size n) {
  return [=](Builder& b) {
    const BufferId dy = b.parameter("dy", {n.rows, (n.heads + 2 * n.kv_heads) * n.head_dim});
    const BufferId table = rope_table(b, "table", b.stream_in("positions", DType::i32, {n.rows}), n.head_dim, kTheta);
    b.call("rope_grad", {dy, table}, {"dqkv"}, {{"heads", n.heads}, {"kv_heads", n.kv_heads}});
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

// Halves of a head that are no whole vectors, heads that do not divide among threads, heads of models.
const std::vector<Size>& sizes() {
  static const std::vector<Size> all = {{1, 1, 1, 2},  {31, 3, 1, 32},  {33, 4, 2, 66},    {127, 1, 1, 34},
                                        {9, 6, 1, 16}, {2, 1, 1, 4096}, {257, 12, 4, 128}, {65, 32, 8, 64}};
  return all;
}

// A turn keeps a^2 + b^2, so |a| + |b| is at most twice the largest |y|: 3 u (|a| + |b|) <= 6 u max |y|.
const double kBound = 6 * kF32;

TEST(RopeCuda, EverySize) {
  NEEDS_GPU();
  for (const Size n : sizes()) {
    SCOPED_TRACE(n.head_dim);
    const Forward forward = rotated(n);
    const Tensors in = inputs(forward, n.rows);
    expect_cuda_close(forward, in, DType::f32, {"y"}, kBound);
    expect_cuda_close(forward, in, DType::f32, {"table"}, 1.01 * kF32);
    expect_cuda_close(forward, in, DType::bf16, {"y"}, kBound + 1.01 * kBf16);
  }
}

TEST(RopeCuda, BackwardOfEverySize) {
  NEEDS_GPU();
  for (const Size n : sizes()) {
    SCOPED_TRACE(n.head_dim);
    const Forward forward = turned_back(n);
    const Tensors in = inputs(forward, n.rows);
    expect_cuda_close(forward, in, DType::f32, {"dqkv"}, kBound);
    expect_cuda_close(forward, in, DType::bf16, {"dqkv"}, kBound + 1.01 * kBf16);
  }
}

TEST(RopeCuda, GradientRule) {
  NEEDS_GPU();
  const Forward forward = rotated({33, 4, 2, 64});
  expect_cuda_gradients_close(forward, inputs(forward, 33), DType::f32, {"y"}, kBound);
}

TEST(RopeCuda, ValueHeadsAreCopied) {
  NEEDS_GPU();
  for (const Size n : {Size{7, 3, 2, 6}, Size{7, 3, 2, 32}}) {
    const Forward forward = rotated(n);
    const Tensors out = run_step_cuda(build(forward, DType::bf16), inputs(forward, n.rows));
    const int64_t columns = (n.heads + 2 * n.kv_heads) * n.head_dim;
    for (int64_t i = 0; i < n.rows * columns; ++i) {
      if (i % columns < (n.heads + n.kv_heads) * n.head_dim) continue;
      EXPECT_EQ(out.at("y")[static_cast<size_t>(i)], out.at("qkv")[static_cast<size_t>(i)]) << i;
    }
  }
}

TEST(RopeCuda, FarPositions) {
  NEEDS_GPU();
  const Forward forward = [](Builder& b) {
    rope_table(b, "table", b.stream_in("positions", DType::i32, {3}), 128, 5e5);
  };
  expect_cuda_close(forward, {{"positions", {131071, 524287, 1000003}}}, DType::f32, {"table"}, 1.05 * kF32);
}

TEST(RopeCuda, Repeatable) {
  NEEDS_GPU();
  for (const Size n : {Size{65, 4, 2, 34}, Size{65, 5, 2, 128}}) {
    for (const Forward& forward : {rotated(n), turned_back(n)}) {
      expect_cuda_repeatable(forward, inputs(forward, n.rows), DType::f32);
      expect_cuda_repeatable(forward, inputs(forward, n.rows), DType::bf16);
    }
  }
}

}  // namespace
}  // namespace centavo::testing
