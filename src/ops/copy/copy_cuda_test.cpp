#include <gtest/gtest.h>

#include "ops/copy/copy.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

Forward there_and_back(int64_t n, Home home) {
  return [=](Builder& b) {
    const BufferId away = copy(b, b.parameter("x", {n}), "away");
    b.program.buffer(away).home = home;
    copy(b, away, "back");
  };
}

TEST(CopyCuda, BetweenAndWithinHomes) {
  NEEDS_GPU();
  for (const Home home : {Home::device, Home::host}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const int64_t n : {1, 31, 33, 127, 4096, 100001}) {
        const Forward forward = there_and_back(n, home);
        expect_cuda_equals_cpu(forward, random_inputs(build(forward)), dtype, {"away", "back"});
      }
    }
  }
}

// From and into windows of other buffers, at any element, with what begins alike and what does not.
TEST(CopyCuda, WindowsOffTheGrid) {
  NEEDS_GPU();
  for (const int64_t from : {0, 1, 2, 8}) {
    for (const int64_t to : {0, 1, 3, 16}) {
      const Forward forward = [=](Builder& b) {
        const auto window = [&](const char* name, BufferId whole, int64_t at, int64_t count) {
          return b.program.add({.name = name, .dtype = b.compute(), .shape = {count}, .view = View{whole, at}});
        };
        const BufferId x = b.parameter("x", {5000}, false);
        const BufferId y = copy(b, x, "y");
        copy(b, window("part", x, from, 4099), Into(window("place", y, to, 4099)));
      };
      for (const DType dtype : {DType::f32, DType::bf16}) {
        expect_cuda_equals_cpu(forward, random_inputs(build(forward)), dtype, {"y"});
      }
    }
  }
}

TEST(CopyCuda, IntegersAndEightBitFloats) {
  NEEDS_GPU();
  const Forward forward = [](Builder& b) {
    copy(b, b.stream_in("i", DType::i32, {3, 2}), "i.copy");
    copy(b, b.stream_in("n", DType::i64, {2}), "n.copy");
    copy(b, b.stream_in("q", DType::f8e5m2, {3}), "q.copy");
  };
  const Tensors in = {{"i", {1, -2, 3, -4, 5, 1 << 30}}, {"n", {-1, 0x1p50}}, {"q", {0.5, -2, 0x1p-14}}};
  const Tensors out = run_step_cuda(build(forward), in);
  for (const char* name : {"i", "n", "q"}) EXPECT_EQ(out.at(std::string(name) + ".copy"), in.at(name));
}

TEST(CopyCuda, Repeatable) {
  NEEDS_GPU();
  const Forward forward = there_and_back(120003, Home::host);
  expect_cuda_repeatable(forward, random_inputs(build(forward)), DType::bf16);
  expect_cuda_repeatable(forward, random_inputs(build(forward)), DType::bf16, {}, {.replayed = true});
}

}  // namespace
}  // namespace centavo::testing
