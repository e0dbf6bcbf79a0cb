#include "ops/linear/linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/all.h"
#include "ops/quantize/quantize.h"
#include "passes/differentiate.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

struct Size {
  int64_t n, k, m;
};

Forward biased(Size s, double scale = 1.0) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", {s.n, s.k});
    const BufferId weight = b.parameter("weight", {s.m, s.k});
    linear(b, "y", x, weight, b.parameter("bias", {s.m}), scale);
  };
}

// A frozen product and a low-rank one that adds to it; x gets two contributions.
Forward lora(Size s) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", {s.n, s.k});
    const BufferId y = linear(b, "y", x, b.parameter("weight", {s.m, s.k}));
    const BufferId low = linear(b, "low", x, b.parameter("lora_a", {2, s.k}));
    linear(b, Into(y, Bind::add), low, b.parameter("lora_b", {s.m, 2}), kNone, 2.0);
  };
}

// linear_dx, linear_dw and linear_db by themselves.
Forward gradients(Size s) {
  return [=](Builder& b) {
    const BufferId x = b.parameter("x", {s.n, s.k});
    const BufferId weight = b.parameter("weight", {s.m, s.k});
    const BufferId dy = b.parameter("dy", {s.n, s.m});
    b.call("linear_dx", {dy, weight}, {"dx"}, {{"scale", 1.0}});
    b.call("linear_dw", {dy, x}, {"dweight"}, {{"scale", 1.0}});
    b.call("linear_db", {dy}, {"dbias"});
  };
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::fabs(value));
  return most;
}

// The contract's bound over sums of k products: the program run on magnitudes gives |x||weight|^T + |bias|.
double bound(const Forward& forward, Tensors inputs, const std::string& name, int64_t k) {  // NOLINT: changes inputs
  const Program program = build(forward, DType::f64);
  const double exact = largest(run_step(program, inputs).at(name));
  for (auto& [input, values] : inputs) {
    for (double& value : values) value = std::fabs(value);
  }
  const double magnitude = largest(run_step(program, inputs).at(name));
  return static_cast<double>(k + 5) * unit_roundoff(DType::f32) * magnitude / exact;
}

void expect_within_bound(const Forward& forward, const std::string& name, int64_t k) {
  const Tensors in = random_inputs(build(forward));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Program program = build(forward, dtype);
    const DType to = program.buffer(program.find(name)).dtype;
    // inputs rounded to bf16 change magnitude / exact by a few percent at most: twice is enough
    const double rounding = to == DType::bf16 ? unit_roundoff(to) : 0.0;
    expect_close_to_f64(forward, in, dtype, {name}, 2 * bound(forward, in, name, k) + rounding);
  }
}

TEST(Linear, ByHand) {
  const Forward forward = biased({2, 2, 1}, 0.5);
  const Tensors in = {{"x", {1, 2, 3, 4}}, {"weight", {5, 6}}, {"bias", {100}}};
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensors out = run_step(build(forward, dtype), in);
    EXPECT_EQ(out.at("y"), (std::vector<double>{108.5, 119.5}));
  }
}

TEST(Linear, GradientsByHand) {
  const Tensors out = run_step(build(gradients({2, 2, 1})), {{"x", {1, 2, 3, 4}}, {"weight", {5, 6}}, {"dy", {7, 8}}});
  EXPECT_EQ(out.at("dx"), (std::vector<double>{35, 42, 40, 48}));
  EXPECT_EQ(out.at("dweight"), (std::vector<double>{31, 46}));
  EXPECT_EQ(out.at("dbias"), (std::vector<double>{15}));
}

TEST(Linear, Gradients) {
  for (const Size size : {Size{1, 1, 1}, Size{3, 5, 4}, Size{4, 33, 2}}) {
    expect_gradients(biased(size, 1.5), random_inputs(build(biased(size))), {"y"});
  }
  expect_gradients(lora({3, 5, 4}), random_inputs(build(lora({3, 5, 4}))), {"y"});
}

TEST(Linear, EveryDtypeAndAwkwardSize) {
  for (const int64_t k : {1, 31, 32, 33, 127, 4096}) expect_within_bound(biased({7, k, 33}), "y", k);
  for (const int64_t m : {1, 31, 127, 4096}) expect_within_bound(biased({1, 32, m}), "y", 32);
}

TEST(Linear, GradientOpsInEveryDtypeAndAwkwardSize) {
  for (const int64_t n : {1, 31, 32, 33, 127, 4096}) {
    const Size size{n, 32, 31};
    expect_within_bound(gradients(size), "dx", size.m);
    for (const char* name : {"dweight", "dbias"}) expect_within_bound(gradients(size), name, n);
  }
}

// The program with every op once more, adding: what a second micro-batch does.
Program twice(Program program) {
  std::vector<Op>& ops = program.sections[0].ops;
  const size_t count = ops.size();
  for (size_t i = 0; i < count; ++i) {
    Op again = ops[i];
    again.id = again.logical = program.next_op_id();
    again.outputs[0].bind = Bind::add;
    ops.push_back(again);
  }
  return program;
}

void expect_doubled(const Forward& forward, const std::string& name, int64_t k) {
  const Tensors in = random_inputs(build(forward));
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Program program = build(forward, dtype);
    std::vector<double> doubled = run_step(program, in).at(name);
    for (double& value : doubled) value *= 2;
    // the first result, the bias and the sum are rounded to the output, and each again when doubled
    const double roundings = 4 * unit_roundoff(program.buffer(program.find(name)).dtype);
    const double sums = dtype == DType::f64 ? 0.0 : bound(forward, in, name, k);
    expect_near(run_step(twice(program), in).at(name), doubled, roundings + sums, name);
  }
}

TEST(Linear, EveryOutputAdds) {
  const Size size{5, 33, 31};
  expect_doubled(biased(size), "y", size.k);
  expect_doubled(gradients(size), "dx", size.m);
  for (const char* name : {"dweight", "dbias"}) expect_doubled(gradients(size), name, size.n);
}

// The sums are f32 whatever the gradient is kept in, and rounded once.
TEST(Linear, GradientsKeptInBf16) {
  Program program = build(gradients({33, 32, 31}), DType::bf16);
  const Tensors in = random_inputs(program);
  const Tensors sums = run_step(program, in);
  for (const char* name : {"dweight", "dbias"}) program.buffer(program.find(name)).dtype = DType::bf16;
  const Tensors out = run_step(program, in);
  for (const char* name : {"dweight", "dbias"}) {
    std::vector<double> rounded;
    for (const double value : sums.at(name)) rounded.push_back(convert<double>(convert<bf16>(value)));
    EXPECT_EQ(out.at(name), rounded) << name;
  }
}

// Products of 8-bit operands against their values undone by hand: only sums and scales differ.
TEST(Linear, EightBitOperands) {
  constexpr int64_t kN = 7, kK = 65, kM = 33;
  const Forward forward = [](Builder& b) {
    const BufferId x = b.parameter("x", {kN, kK});
    const BufferId weight = b.parameter("weight", {kM, kK});
    const BufferId dy = b.parameter("dy", {kN, kM});
    const BufferId mx = amax(b, "x.amax", x);
    const BufferId mw = amax(b, "weight.amax", weight);
    const BufferId md = amax(b, "dy.amax", dy);
    const BufferId xq = quantize(b, "x.q", x, mx, "e4m3");
    const BufferId wq = quantize(b, "weight.q", weight, mw, "e4m3");
    b.stage = Stage::backward;
    const BufferId dq = quantize(b, "dy.q", dy, md, "e5m2");
    b.call("linear", {xq, wq, kNone, mx, mw}, {"y"}, {{"scale", 0.5}});
    b.call("linear_dx", {dq, wq, md, mw}, {"dx"}, {{"scale", 0.5}});
    b.call("linear_dw", {dq, xq, md, mx}, {"dweight"}, {{"scale", 0.5}});
  };
  const Tensors in = random_inputs(build(forward), 0.03);
  const Tensors out = run_step(build(forward), in);
  Tensors undone;
  for (const auto& [name, largest] : {std::pair{"x", 448.0}, {"weight", 448.0}, {"dy", 57344.0}}) {
    for (const double q : out.at(name + std::string(".q"))) {
      undone[name].push_back(q * out.at(name + std::string(".amax"))[0] / largest);
    }
  }
  const Forward plain = [](Builder& b) {
    const BufferId x = b.parameter("x", {kN, kK});
    const BufferId weight = b.parameter("weight", {kM, kK});
    const BufferId dy = b.parameter("dy", {kN, kM});
    linear(b, "y", x, weight, kNone, 0.5);
    b.call("linear_dx", {dy, weight}, {"dx"}, {{"scale", 0.5}});
    b.call("linear_dw", {dy, x}, {"dweight"}, {{"scale", 0.5}});
  };
  const Tensors exact = run_step(build(plain, DType::f64), undone);
  expect_near(out.at("y"), exact.at("y"), bound(plain, undone, "y", kK), "y");
  expect_near(out.at("dx"), exact.at("dx"), bound(plain, undone, "dx", kM), "dx");
  expect_near(out.at("dweight"), exact.at("dweight"), bound(plain, undone, "dweight", kN), "dweight");
}

TEST(Linear, Repeatable) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int threads : {1, 2, 3}) {
      const Program program = build(gradients({65, 129, 31}), dtype);
      const Tensors in = random_inputs(program);
      EXPECT_EQ(run_step(program, in, threads), run_step(program, in, threads)) << threads << " threads";
    }
  }
  const Forward sums = [](Builder& b) { b.call("linear_db", {b.parameter("dy", {129, 200})}, {"dbias"}); };
  expect_repeatable(sums, random_inputs(build(sums)), DType::f32);
}

TEST(Linear, NothingIsComputedForAFrozenOperand) {
  const auto backward = [](bool x_trainable, bool weight_trainable) {
    const Forward forward = [=](Builder& b) {
      const BufferId x = b.parameter("x", {2, 3}, x_trainable);
      linear(b, "y", x, b.parameter("weight", {4, 3}, weight_trainable));
    };
    std::vector<std::string> kinds;
    const Program program = differentiate(build(forward), all_ops(), "micro", {"y"});
    for (const Op& op : program.sections[0].ops) {
      if (op.stage == Stage::backward) kinds.push_back(op.kind);
    }
    return kinds;
  };
  EXPECT_EQ(backward(true, false), std::vector<std::string>{"linear_dx"});
  EXPECT_EQ(backward(false, true), std::vector<std::string>{"linear_dw"});
}

TEST(Linear, RejectsShapes) {
  expect_shape_error(
      [](Builder& b) {
        linear(b, "y", b.parameter("x", {2, 3}), b.parameter("weight", {4, 5}));
      },
      "weight must be [M, 3]");
  expect_shape_error(
      [](Builder& b) {
        linear(b, "y", b.parameter("x", {6}), b.parameter("weight", {4, 6}));
      },
      "x must be a matrix");
  expect_shape_error(
      [](Builder& b) {
        linear(b, "y", b.parameter("x", {2, 3}), b.parameter("weight", {4, 3}), b.parameter("bias", {3}));
      },
      "bias must be [4]");
  expect_shape_error(
      [](Builder& b) {
        b.call("linear_dx", {b.parameter("dy", {2, 3}), b.parameter("weight", {4, 3})}, {"dx"}, {{"scale", 1.0}});
      },
      "weight must be [3, K]");
  expect_shape_error(
      [](Builder& b) {
        b.call("linear_dw", {b.parameter("dy", {2, 3}), b.parameter("x", {4, 3})}, {"dw"}, {{"scale", 1.0}});
      },
      "x must be [2, K]");
}

TEST(Linear, RejectsAnAmaxTooManyOrTooFew) {
  expect_shape_error(
      [](Builder& b) {
        const BufferId x = b.parameter("x", {2, 3});
        b.call("linear", {x, b.parameter("weight", {4, 3}), kNone, amax(b, "m", x)}, {"y"}, {{"scale", 1.0}});
      },
      "it must have no amax");
  expect_shape_error(
      [](Builder& b) {
        const BufferId x = b.parameter("x", {2, 3});
        linear(b, "y", quantize(b, "q", x, amax(b, "m", x), "e4m3"), b.parameter("weight", {4, 3}));
      },
      "it must have an amax");
}

}  // namespace
}  // namespace centavo::testing
