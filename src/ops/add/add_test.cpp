#include "ops/add/add.h"

#include <gtest/gtest.h>

#include "ops/swiglu/swiglu.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward plain(const Shape& shape) {
  return [=](Builder& b) { add(b, "c", b.parameter("a", shape), b.parameter("b", shape)); };
}

TEST(Add, ByHand) {
  // 1 + 2^-8 lies between two bf16 numbers: to even is 1
  const Tensors in = {{"a", {1, 2, 1}}, {"b", {3, -5, 0x1p-8}}};
  const std::vector<double> exact = {4, -3, 1 + 0x1p-8};
  EXPECT_EQ(run_step(build(plain({3}), DType::f64), in).at("c"), exact);
  EXPECT_EQ(run_step(build(plain({3}), DType::f32), in).at("c"), exact);
  EXPECT_EQ(run_step(build(plain({3}), DType::bf16), in).at("c"), (std::vector<double>{4, -3, 1}));
}

TEST(Add, InPlaceIsTheSame) {
  const auto into_operand = [](const std::string& target) {
    return [=](Builder& b) {
      const BufferId one = b.parameter("a", {1000}, false);
      const BufferId other = b.parameter("b", {1000}, false);
      b.call("add", {one, other}, {b.program.find(target)});
    };
  };
  const Tensors in = random_inputs(build(plain({1000})));
  const std::vector<double> expected = run_step(build(plain({1000})), in).at("c");
  EXPECT_EQ(run_step(build(into_operand("a")), in).at("a"), expected);
  EXPECT_EQ(run_step(build(into_operand("b")), in).at("b"), expected);
}

// The summands are values, not parameters: add hands gradients on, and only values may share one.
TEST(Add, Gradients) {
  const Forward two = [](Builder& b) {
    const BufferId x = swiglu(b, "x", b.parameter("p", {3, 10}));
    add(b, "c", x, swiglu(b, "y", b.parameter("q", {3, 10})));
  };
  expect_gradients(two, random_inputs(build(two)), {"c"});
  expect_gradients(two, random_inputs(build(two)), {"c", "x"});
  const Forward thrice = [](Builder& b) {
    const BufferId x = swiglu(b, "x", b.parameter("p", {1, 8}));
    add(b, "d", add(b, "c", x, x), x);
  };
  expect_gradients(thrice, random_inputs(build(thrice)), {"d"});
  expect_gradients(thrice, random_inputs(build(thrice)), {"c", "d"});
}

TEST(Add, EveryDtypeAndAwkwardSize) {
  for (const int64_t count : {1, 31, 32, 33, 127, 4096, 40001}) {
    const Tensors in = random_inputs(build(plain({count})));
    expect_close_to_f64(plain({count}), in, DType::f32, {"c"}, unit_roundoff(DType::f32));
    expect_close_to_f64(plain({count}), in, DType::bf16, {"c"}, 1.01 * unit_roundoff(DType::bf16));
  }
}

TEST(Add, Repeatable) {
  expect_repeatable(plain({3, 40001}), random_inputs(build(plain({3, 40001}))), DType::f32);
  expect_repeatable(plain({3, 40001}), random_inputs(build(plain({3, 40001}))), DType::bf16);
}

TEST(Add, RejectsShapes) {
  expect_shape_error(
      [](Builder& b) {
        add(b, "c", b.parameter("a", {2, 3}), b.parameter("b", {3, 2}));
      },
      "b must be [2, 3]");
}

}  // namespace
}  // namespace centavo::testing
