#include <gtest/gtest.h>

#include "ops/add/add.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

Forward plain(int64_t count) {
  return [=](Builder& b) { add(b, "c", b.parameter("a", {count}), b.parameter("b", {count})); };
}

TEST(AddCuda, EveryDtypeAndAwkwardSize) {
  NEEDS_GPU();
  for (const int64_t count : {1, 31, 32, 33, 127, 4096, 40001, 1 << 20}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      expect_cuda_equals_cpu(plain(count), random_inputs(build(plain(count))), dtype, {"c"});
    }
  }
}

TEST(AddCuda, InPlaceIsTheSame) {
  NEEDS_GPU();
  const auto into_operand = [](const std::string& target) {
    return [=](Builder& b) {
      const BufferId one = b.parameter("a", {10001}, false);
      const BufferId other = b.parameter("b", {10001}, false);
      b.call("add", {one, other}, {b.program.find(target)});
    };
  };
  const Tensors in = random_inputs(build(plain(10001)));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_cuda_equals_cpu(into_operand("a"), in, dtype, {"a"});
    expect_cuda_equals_cpu(into_operand("b"), in, dtype, {"b"});
  }
}

TEST(AddCuda, WindowsOffTheGrid) {
  NEEDS_GPU();
  for (const int64_t offset : {1, 2, 4, 8}) {
    const Forward forward = [=](Builder& b) {
      const auto whole = b.parameter("a", {5000}, false);
      const auto window = b.program.add({.name = "window",
                                         .dtype = b.compute(),
                                         .shape = {4001},
                                         .kind = BufferKind::parameter,
                                         .view = View{whole, offset}});
      add(b, "c", window, b.parameter("b", {4001}, false));
    };
    for (const DType dtype : {DType::f32, DType::bf16}) {
      expect_cuda_equals_cpu(forward, random_inputs(build(forward)), dtype, {"c"});
    }
  }
}

TEST(AddCuda, Repeatable) {
  NEEDS_GPU();
  expect_cuda_repeatable(plain(120003), random_inputs(build(plain(120003))), DType::f32);
  expect_cuda_repeatable(plain(120003), random_inputs(build(plain(120003))), DType::bf16);
}

}  // namespace
}  // namespace centavo::testing
