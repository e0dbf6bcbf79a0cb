#include "ops/copy/copy.h"

#include <gtest/gtest.h>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

Forward of(const Shape& shape, Home home = Home::device) {
  return [=](Builder& b) { b.program.buffer(copy(b, b.parameter("x", shape), "y")).home = home; };
}

TEST(Copy, EveryDtypeAndAwkwardSize) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t n : {1, 31, 32, 33, 127, 4096, 100001}) {
      const Program program = build(of({n}), dtype);
      EXPECT_EQ(program.buffer(program.find("y")).dtype, dtype);
      const Tensors out = run_step(program, random_inputs(program));
      EXPECT_EQ(out.at("y"), out.at("x"));
    }
  }
}

TEST(Copy, IntegersAndEightBitFloats) {
  const Forward forward = [](Builder& b) {
    copy(b, b.stream_in("i", DType::i32, {3, 2}), "i.copy");
    copy(b, b.stream_in("n", DType::i64, {2}), "n.copy");
    copy(b, b.stream_in("q", DType::f8e5m2, {3}), "q.copy");
  };
  const Tensors in = {{"i", {1, -2, 3, -4, 5, 1 << 30}}, {"n", {-1, 0x1p50}}, {"q", {0.5, -2, 0x1p-14}}};
  const Tensors out = run_step(build(forward), in);
  for (const char* name : {"i", "n", "q"}) EXPECT_EQ(out.at(std::string(name) + ".copy"), in.at(name));
}

TEST(Copy, WindowsOfOtherBuffers) {
  const Forward forward = [](Builder& b) {
    const auto window = [&](const char* name, BufferId whole, int64_t at) {
      return b.program.add({.name = name, .dtype = b.compute(), .shape = {2}, .view = View{whole, at}});
    };
    const BufferId x = b.parameter("x", {5}, false);
    const BufferId y = copy(b, x, "y");
    copy(b, window("part", x, 1), Into(window("place", y, 3)));
  };
  const Tensors out = run_step(build(forward), {{"x", {1, 2, 3, 4, 5}}});
  EXPECT_EQ(out.at("y"), (std::vector<double>{1, 2, 3, 2, 3}));
}

TEST(Copy, BetweenHomes) {
  const Forward there_and_back = [](Builder& b) {
    const BufferId away = copy(b, b.parameter("x", {5, 7}), "away");
    b.program.buffer(away).home = Home::host;
    copy(b, away, "back");
  };
  const Program program = build(there_and_back, DType::bf16);
  const Tensors out = run_step(program, random_inputs(program));
  EXPECT_EQ(out.at("away"), out.at("x"));
  EXPECT_EQ(out.at("back"), out.at("x"));
}

TEST(Copy, CostIsBytes) {
  const Program program = build(of({3, 100}), DType::bf16);
  const Cost cost = copy_def().cost(OpView(program, program.sections[0].ops[0]));
  EXPECT_EQ(cost.bytes, 2 * 600);
  EXPECT_EQ(cost.flops, 0);
}

TEST(Copy, Repeatable) {
  expect_repeatable(of({3, 40001}, Home::host), random_inputs(build(of({3, 40001}))), DType::bf16);
}

TEST(Copy, RejectsAnotherDtypeOrShape) {
  const auto into = [](DType dtype, const Shape& shape) {
    return [=](Builder& b) {
      const BufferId y = b.program.add({.name = "y", .dtype = dtype, .shape = shape});
      copy(b, b.parameter("x", {2, 3}), Into(y));
    };
  };
  expect_shape_error(into(DType::bf16, {2, 3}), "y must be f32 like x, not bf16");
  EXPECT_THROW(run_step(build(into(DType::f32, {3, 2})), {}), UserError);
  EXPECT_NO_THROW(run_step(build(into(DType::f32, {2, 3})), {}));
}

}  // namespace
}  // namespace centavo::testing
