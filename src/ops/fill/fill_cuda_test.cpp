#include <gtest/gtest.h>

#include "ops/fill/fill.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

Forward of(int64_t n, double value) {
  return [=](Builder& b) {
    const BufferId y = b.program.add({.name = "y", .dtype = b.compute(), .shape = {n}});
    b.call("fill", {}, {Into(y)}, {{"value", value}});
  };
}

TEST(FillCuda, EveryDtypeAndAwkwardSize) {
  NEEDS_GPU();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t n : {1, 31, 32, 33, 127, 4096, 40001, 1 << 20}) {
      for (const double value : {-2.5, 0.0, 1.001}) expect_cuda_equals_cpu(of(n, value), {}, dtype, {"y"});
    }
  }
}

TEST(FillCuda, FillsAWindowAndNothingElse) {
  NEEDS_GPU();
  for (const int64_t offset : {1, 4, 8, 16}) {
    const Forward forward = [=](Builder& b) {
      const BufferId x = b.parameter("x", {3000});
      const View view{x, offset};
      const BufferId window = b.program.add({.name = "window", .dtype = b.compute(), .shape = {2001}, .view = view});
      b.call("fill", {}, {Into(window)}, {{"value", 0.0}});
    };
    for (const DType dtype : {DType::f32, DType::bf16}) {
      expect_cuda_equals_cpu(forward, {{"x", std::vector<double>(3000, 1)}}, dtype, {"x"});
    }
  }
}

TEST(FillCuda, Repeatable) {
  NEEDS_GPU();
  expect_cuda_repeatable(of(100001, 0.1), {}, DType::bf16);
}

}  // namespace
}  // namespace centavo::testing
