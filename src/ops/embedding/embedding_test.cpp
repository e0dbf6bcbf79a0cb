#include "ops/embedding/embedding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "passes/differentiate.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

BufferId tokens_in(Builder& b, int64_t count) { return b.stream_in("tokens", DType::i32, {count}); }

Forward lookup(int64_t tokens, int64_t vocab, int64_t columns) {
  return [=](Builder& b) { embedding(b, "x", tokens_in(b, tokens), b.parameter("weight", {vocab, columns})); };
}

// Rows of both tables added.
Forward placed(int64_t tokens, int64_t vocab, int64_t most_positions, int64_t columns) {
  return [=](Builder& b) {
    const BufferId weight = b.parameter("weight", {vocab, columns});
    const BufferId positions = b.stream_in("positions", DType::i32, {tokens});
    embedding(b, "x", tokens_in(b, tokens), weight, {positions, b.parameter("places", {most_positions, columns})});
  };
}

// dweight of the given dtype; the binding adds when `base` (a gradient written by another such op) is asked for.
enum class Onto { nothing, another };

Forward scatter(int64_t tokens, int64_t vocab, int64_t columns, DType gradient, Onto onto = Onto::nothing) {
  return [=](Builder& b) {
    const BufferId ids = tokens_in(b, tokens);
    const BufferId dweight = b.program.add({.name = "dweight",
                                            .dtype = b.compute() == DType::f64 ? DType::f64 : gradient,
                                            .shape = {vocab, columns},
                                            .kind = BufferKind::gradient});
    const std::map<std::string, Attribute> attributes = {{"vocab_size", vocab}};
    if (onto == Onto::another) {
      b.call("embedding_grad", {b.stream_in("before", DType::i32, {tokens}), b.parameter("dy", {tokens, columns})},
             {dweight}, attributes);
    }
    const Bind bind = onto == Onto::another ? Bind::add : Bind::write;
    b.call("embedding_grad", {ids, b.parameter("dx", {tokens, columns})}, {Into(dweight, bind)}, attributes);
  };
}

// Ids that repeat and leave gaps.
std::vector<double> ids(int64_t count, int64_t vocab) {
  std::vector<double> values;
  for (int64_t n = 0; n < count; ++n) values.push_back(static_cast<double>((n * n + 3) % vocab));
  return values;
}

Tensors with_ids(const Forward& forward, int64_t count, int64_t vocab) {
  Tensors in = random_inputs(build(forward));
  in["tokens"] = ids(count, vocab);
  in["before"] = ids(count, vocab / 2 + 1);
  return in;
}

// Two documents.
Tensors with_positions(const Forward& forward, int64_t count, int64_t vocab) {
  Tensors in = with_ids(forward, count, vocab);
  for (int64_t n = 0; n < count; ++n) in["positions"].push_back(static_cast<double>(n % ((count + 1) / 2)));
  return in;
}

TEST(Embedding, ByHand) {
  const Tensors out = run_step(build(lookup(3, 2, 2), DType::f64), {{"tokens", {1, 0, 1}}, {"weight", {1, 2, 3, 4}}});
  EXPECT_EQ(out.at("x"), (std::vector<double>{3, 4, 1, 2, 3, 4}));
}

TEST(Embedding, GradientByHand) {
  const Tensors in = {{"tokens", {2, 0, 2}}, {"dx", {1, 2, 3, 4, 5, 6}}};
  const Tensors out = run_step(build(scatter(3, 4, 2, DType::f64), DType::f64), in);
  EXPECT_EQ(out.at("dweight"), (std::vector<double>{3, 4, 0, 0, 6, 8, 0, 0}));
}

TEST(Embedding, AddsToWhatIsThere) {
  const Tensors in = {{"before", {0, 1}}, {"dy", {10, 20}}, {"tokens", {1, 1}}, {"dx", {3, 4}}};
  const Tensors out = run_step(build(scatter(2, 3, 1, DType::f64, Onto::another), DType::f64), in);
  EXPECT_EQ(out.at("dweight"), (std::vector<double>{10, 27, 0}));
}

TEST(Embedding, OutOfRangeTouchesNothing) {
  const std::vector<double> tokens = {-1, 1, 2};
  const Tensors x = run_step(build(lookup(3, 2, 1), DType::f32), {{"tokens", tokens}, {"weight", {5, 7}}});
  EXPECT_EQ(x.at("x"), (std::vector<double>{0, 7, 0}));
  const Tensors d = run_step(build(scatter(3, 2, 1, DType::f32)), {{"tokens", tokens}, {"dx", {1, 2, 4}}});
  EXPECT_EQ(d.at("dweight"), (std::vector<double>{0, 2}));
}

TEST(Embedding, LearnedPositionsByHand) {
  const Tensors in = {
      {"tokens", {1, 0, 1}}, {"positions", {0, 1, 0}}, {"weight", {1, 2, 3, 4}}, {"places", {10, 20, 30, 40}}};
  EXPECT_EQ(run_step(build(placed(3, 2, 2, 2), DType::f64), in).at("x"), (std::vector<double>{13, 24, 31, 42, 13, 24}));
}

TEST(Embedding, PositionsOutOfRangeCountAsZero) {
  const Tensors in = {
      {"tokens", {-1, 1, 1, 2}}, {"positions", {0, -1, 1, 2}}, {"weight", {5, 7}}, {"places", {10, 20}}};
  EXPECT_EQ(run_step(build(placed(4, 2, 2, 1)), in).at("x"), (std::vector<double>{10, 7, 27, 0}));
}

TEST(Embedding, LearnedPositionsRoundOnce) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    const Forward forward = placed(9, 33, 5, columns);
    const Tensors in = with_positions(forward, 9, 33);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      expect_close_to_f64(forward, in, dtype, {"x"}, unit_roundoff(dtype));
    }
  }
}

TEST(Embedding, Gradients) {
  expect_gradients(placed(7, 5, 4, 3), with_positions(placed(7, 5, 4, 3), 7, 5), {"x"});
  const Forward tied = [](Builder& b) {
    const BufferId weight = b.parameter("weight", {5, 3});
    const BufferId tokens = tokens_in(b, 7);
    embedding(b, "x", tokens, weight);
    embedding(b, "y", tokens, weight);
  };
  expect_gradients(lookup(7, 5, 3), with_ids(lookup(7, 5, 3), 7, 5), {"x"});
  expect_gradients(tied, with_ids(tied, 7, 5), {"x", "y"});
}

TEST(Embedding, FrozenTableGetsNoGradient) {
  const Forward frozen = [](Builder& b) { embedding(b, "x", tokens_in(b, 2), b.parameter("weight", {3, 1}, false)); };
  const Program program =
      differentiate(build(frozen), OpTable({embedding_def(), embedding_grad_def()}), "micro", {"x"});
  EXPECT_EQ(program.sections[0].ops.size(), 1u);
  EXPECT_EQ(program.find("weight.grad"), kNone);
}

TEST(Embedding, LookupIsExact) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    const Forward forward = lookup(9, 33, columns);
    const Tensors in = with_ids(forward, 9, 33);
    for (const DType dtype : {DType::f32, DType::bf16}) expect_close_to_f64(forward, in, dtype, {"x"}, 0.0);
  }
}

// The largest number of times one id stands in `values`.
int64_t longest_segment(const std::vector<double>& values) {
  std::map<double, int64_t> lengths;
  int64_t longest = 0;
  for (const double id : values) longest = std::max(longest, ++lengths[id]);
  return longest;
}

// |error| <= (n - 1) u n |dx|: n rows of one segment, each element at most max |dx|, plus one rounding.
double relative_bound(const Forward& forward, const Tensors& in, DType gradient) {
  const auto largest = [](const std::vector<double>& values) {
    double most = 0;
    for (const double value : values) most = std::max(most, std::fabs(value));
    return most;
  };
  const auto n = static_cast<double>(longest_segment(in.at("tokens")));
  const double before = in.contains("dy") ? static_cast<double>(longest_segment(in.at("before"))) : 0.0;
  const double terms = n + before;
  const double size = std::max(largest(in.at("dx")), in.contains("dy") ? largest(in.at("dy")) : 0.0);
  const double result = largest(run_step(build(forward, DType::f64), in).at("dweight"));
  return terms * unit_roundoff(DType::f32) * terms * size / result + unit_roundoff(gradient);
}

TEST(Embedding, GradientOfEveryDtypeAndAwkwardSize) {
  for (const int64_t columns : {1, 31, 32, 33, 127, 4096}) {
    for (const DType gradient : {DType::f32, DType::bf16}) {
      const Forward forward = scatter(257, 33, columns, gradient);
      const Tensors in = with_ids(forward, 257, 33);
      const double bound = 1.01 * relative_bound(forward, in, gradient);  // the inputs' own rounding moves the largest
      expect_close_to_f64(forward, in, DType::f32, {"dweight"}, bound);
      expect_close_to_f64(forward, in, DType::bf16, {"dweight"}, bound);
    }
  }
}

TEST(Embedding, GradientOfEveryVocabulary) {
  for (const int64_t vocab : {1, 31, 32, 33, 127, 4096}) {
    const Forward forward = scatter(65, vocab, 3, DType::f32, Onto::another);
    const Tensors in = with_ids(forward, 65, vocab);
    const double bound = 1.01 * relative_bound(forward, in, DType::f32);
    expect_close_to_f64(forward, in, DType::f32, {"dweight"}, bound);
  }
}

TEST(Embedding, Repeatable) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_repeatable(lookup(129, 300, 65), with_ids(lookup(129, 300, 65), 129, 300), dtype);
    const Forward forward = scatter(1025, 600, 300, DType::bf16, Onto::another);
    expect_repeatable(forward, with_ids(forward, 1025, 600), dtype);
  }
}

TEST(Embedding, RejectsShapes) {
  expect_shape_error(
      [](Builder& b) {
        const BufferId positions = b.stream_in("positions", DType::i32, {4});
        embedding(b, "x", tokens_in(b, 4), b.parameter("weight", {4, 2}), {positions, b.parameter("places", {4, 3})});
      },
      "position_weight must be [P, 2]");
  expect_shape_error(
      [](Builder& b) {
        const BufferId positions = b.stream_in("positions", DType::i32, {3});
        embedding(b, "x", tokens_in(b, 4), b.parameter("weight", {4, 2}), {positions, b.parameter("places", {4, 2})});
      },
      "positions must be [4] like tokens");
  expect_shape_error([](Builder& b) { embedding(b, "x", tokens_in(b, 4), b.parameter("weight", {4})); },
                     "weight must be [V, C]");
  expect_shape_error(
      [](Builder& b) {
        embedding(b, "x", b.stream_in("tokens", DType::i32, {2, 2}), b.parameter("weight", {4, 2}));
      },
      "tokens must be [N]");
  expect_shape_error(
      [](Builder& b) {
        b.call("embedding_grad", {tokens_in(b, 4), b.parameter("dx", {3, 2})}, {"d"}, {{"vocab_size", int64_t{5}}});
      },
      "dx must be [4, C]");
  expect_shape_error(scatter(3, 0, 2, DType::f32), "the vocabulary must have");
}

}  // namespace
}  // namespace centavo::testing
