#include "ops/fill/fill.h"

#include <gtest/gtest.h>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward of(int64_t n, double value) {
  return [=](Builder& b) {
    const BufferId y = b.program.add({.name = "y", .dtype = b.compute(), .shape = {n}});
    b.call("fill", {}, {Into(y)}, {{"value", value}});
  };
}

TEST(Fill, EveryDtypeAndAwkwardSize) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t n : {1, 31, 32, 33, 127, 4096, 40001}) {
      const auto y = run_step(build(of(n, -2.5), dtype), {}).at("y");
      EXPECT_EQ(y, std::vector<double>(static_cast<size_t>(n), -2.5));
    }
  }
}

TEST(Fill, IsRounded) { EXPECT_EQ(run_step(build(of(1, 1.001), DType::bf16), {}).at("y")[0], 1.0); }

TEST(Fill, FillsAWindowAndNothingElse) {
  const Forward forward = [](Builder& b) {
    const BufferId x = b.parameter("x", {10});
    const BufferId window = b.program.add({.name = "window", .shape = {3}, .view = View{x, 4}});
    b.call("fill", {}, {Into(window)}, {{"value", 0.0}});
  };
  const auto x = run_step(build(forward), {{"x", std::vector<double>(10, 1)}}).at("x");
  EXPECT_EQ(x, (std::vector<double>{1, 1, 1, 1, 0, 0, 0, 1, 1, 1}));
}

TEST(Fill, Repeatable) { expect_repeatable(of(100001, 0.1), {}, DType::bf16); }

TEST(Fill, Rejects) {
  expect_shape_error([](Builder& b) { b.call("fill", {}, {}, {{"value", 0.0}}); }, "y is missing");
}

}  // namespace
}  // namespace centavo::testing
