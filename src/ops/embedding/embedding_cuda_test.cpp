#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/embedding/embedding.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16};

struct Sizes {
  int64_t tokens, vocab, columns;
};

BufferId ids(Builder& b, const char* name, int64_t count) { return b.stream_in(name, DType::i32, {count}); }

Forward lookup(const Sizes& s) {
  return [=](Builder& b) {
    embedding(b, "x", ids(b, "tokens", s.tokens), b.parameter("weight", {s.vocab, s.columns}));
  };
}

// Rows of both tables added.
Forward placed(const Sizes& s, int64_t most_positions) {
  return [=](Builder& b) {
    const BufferId weight = b.parameter("weight", {s.vocab, s.columns});
    const BufferId places = b.parameter("places", {most_positions, s.columns});
    embedding(b, "x", ids(b, "tokens", s.tokens), weight, {ids(b, "positions", s.tokens), places});
  };
}

enum class Onto { nothing, another };

// dweight of the given dtype; the binding adds to the gradient of another such op when asked to.
Forward scatter(const Sizes& s, DType gradient, Onto onto) {
  return [=](Builder& b) {
    const BufferId dweight = b.program.add({.name = "dweight",
                                            .dtype = b.compute() == DType::f64 ? DType::f64 : gradient,
                                            .shape = {s.vocab, s.columns},
                                            .kind = BufferKind::gradient});
    const auto add = [&](const char* tokens, const char* dx, Bind bind) {
      b.call("embedding_grad", {ids(b, tokens, s.tokens), b.parameter(dx, {s.tokens, s.columns})},
             {Into(dweight, bind)}, {{"vocab_size", s.vocab}});
    };
    if (onto == Onto::another) add("before", "dy", Bind::write);
    add("tokens", "dx", onto == Onto::another ? Bind::add : Bind::write);
  };
}

// Mostly small ids, as in text: id 0 has about (1 / vocab)^(1 / 4) of all tokens. Two ids are out of range.
std::vector<double> like_text(const std::string& name, const Sizes& s) {
  std::vector<double> values = random_values(name, s.tokens);
  for (double& value : values) {
    const double uniform = 0.5 * std::erfc(-value * std::sqrt(0.5));
    value = std::floor(static_cast<double>(s.vocab) * std::pow(uniform, 4) * 0.999999);
  }
  values.front() = -1;
  values[values.size() / 2] = static_cast<double>(s.vocab);
  return values;
}

Tensors inputs(const Forward& forward, const Sizes& s) {
  Tensors in = random_inputs(build(forward));
  in["tokens"] = like_text("tokens", s);
  in["before"] = like_text("before", s);
  return in;
}

TEST(EmbeddingCuda, LookupIsExact) {
  NEEDS_GPU();
  for (const int64_t columns : {1, 2, 31, 32, 33, 127, 768, 4096}) {
    const Sizes s{33, 130, columns};
    for (const DType dtype : kTypes) expect_cuda_close(lookup(s), inputs(lookup(s), s), dtype, {"x"}, 0.0);
  }
  const Sizes large{4096, 5000, 1024};
  for (const DType dtype : kTypes) expect_cuda_equals_cpu(lookup(large), inputs(lookup(large), large), dtype, {"x"});
}

// Documents that are longer than the table has positions, and a position below 0.
Tensors placed_inputs(const Sizes& s, int64_t most_positions) {
  Tensors in = inputs(placed(s, most_positions), s);
  for (int64_t n = 0; n < s.tokens; ++n) in["positions"].push_back(static_cast<double>(n % (most_positions + 1)));
  in["positions"].back() = -1;
  return in;
}

TEST(EmbeddingCuda, LearnedPositionsHaveTheBitsOfTheCpu) {
  NEEDS_GPU();
  for (const int64_t columns : {1, 2, 31, 32, 33, 127, 768, 1032, 4096}) {
    const Sizes s{33, 130, columns};
    for (const DType dtype : kTypes) {
      expect_cuda_equals_cpu(placed(s, 9), placed_inputs(s, 9), dtype, {"x"});
      expect_cuda_close(placed(s, 9), placed_inputs(s, 9), dtype, {"x"}, unit_roundoff(dtype));
    }
  }
  const Sizes large{4096, 5000, 1024};
  for (const DType dtype : kTypes) {
    expect_cuda_equals_cpu(placed(large, 1000), placed_inputs(large, 1000), dtype, {"x"});
  }
}

TEST(EmbeddingCuda, GradientRuleOfLearnedPositions) {
  NEEDS_GPU();
  const Sizes s{129, 33, 65};
  const double terms = 129;
  const double bound = terms * terms * unit_roundoff(DType::f32);
  expect_cuda_gradients_close(placed(s, 40), placed_inputs(s, 40), DType::f32, {"x"}, bound);
}

TEST(EmbeddingCuda, OutOfRangeTouchesNothing) {
  NEEDS_GPU();
  const std::vector<double> tokens = {-1, 1, 2};
  const Tensors x = run_step_cuda(build(lookup({3, 2, 1}), DType::f32), {{"tokens", tokens}, {"weight", {5, 7}}});
  EXPECT_EQ(x.at("x"), (std::vector<double>{0, 7, 0}));
  const Program program = build(scatter({3, 2, 1}, DType::f32, Onto::nothing));
  const Tensors d = run_step_cuda(program, {{"tokens", tokens}, {"dx", {1, 2, 4}}});
  EXPECT_EQ(d.at("dweight"), (std::vector<double>{0, 2}));
}

void expect_gradient_equals_cpu(const Sizes& s, DType dtype, DType gradient, Onto onto) {
  SCOPED_TRACE(fmt::format("{} tokens, {} ids, {} columns, {} to {}", s.tokens, s.vocab, s.columns, name_of(dtype),
                           name_of(gradient)));
  const Forward forward = scatter(s, gradient, onto);
  expect_cuda_equals_cpu(forward, inputs(forward, s), dtype, {"dweight"});
}

// Token n is token(n).
template <class Token>
void expect_gradient_of(const Sizes& s, Token token) {
  SCOPED_TRACE(fmt::format("{} tokens, {} ids, {} columns", s.tokens, s.vocab, s.columns));
  const Forward forward = scatter(s, DType::f32, Onto::nothing);
  Tensors in = inputs(forward, s);
  for (int64_t n = 0; n < s.tokens; ++n) in["tokens"][static_cast<size_t>(n)] = static_cast<double>(token(n));
  for (const DType dtype : kTypes) expect_cuda_equals_cpu(forward, in, dtype, {"dweight"});
}

TEST(EmbeddingCuda, GradientHasTheBitsOfTheCpu) {
  NEEDS_GPU();
  for (const int64_t columns : {1, 31, 32, 33, 127, 264, 4096}) {
    for (const DType dtype : kTypes) {
      for (const DType gradient : kTypes) {
        for (const Onto onto : {Onto::nothing, Onto::another}) {
          expect_gradient_equals_cpu({257, 33, columns}, dtype, gradient, onto);
        }
      }
    }
  }
}

TEST(EmbeddingCuda, GradientOfEveryVocabularyAndCount) {
  NEEDS_GPU();
  for (const int64_t vocab : {1, 2, 31, 32, 127, 128, 129, 255, 256, 65536, 262144, 262145}) {
    for (const int64_t tokens : {1, 2}) expect_gradient_of({tokens, vocab, 8}, [=](int64_t) { return vocab - 1; });
    for (const int64_t tokens : {1, 2, 33, 127, 512, 2049}) {
      expect_gradient_equals_cpu({tokens, vocab, 8}, DType::bf16, DType::bf16, Onto::another);
      expect_gradient_equals_cpu({tokens, vocab, 3}, DType::f32, DType::f32, Onto::nothing);
    }
  }
}

// Segments at the borders of what one warp sums and of what a block loads at once.
TEST(EmbeddingCuda, GradientOfLongSegments) {
  NEEDS_GPU();
  for (const int64_t columns : {1, 33, 264, 1032}) {
    for (const int64_t length : {31, 32, 33, 63, 64, 65, 127, 128, 129, 3000}) {
      const Sizes s{2 * length + 5, 40, columns};
      for (const DType dtype : kTypes) {
        SCOPED_TRACE(fmt::format("{} columns, segments of {}", columns, length));
        const Forward forward = scatter(s, DType::f32, Onto::nothing);
        Tensors in = inputs(forward, s);
        for (size_t n = 0; n < in["tokens"].size(); ++n) in["tokens"][n] = n < 5 ? 38 : n % 2 == 0 ? 7 : 39;
        expect_cuda_equals_cpu(forward, in, dtype, {"dweight"});
      }
    }
  }
}

// More long segments than blocks for them, all of one length or with short ones between.
TEST(EmbeddingCuda, GradientOfManyLongSegments) {
  NEEDS_GPU();
  for (const Sizes& s : {Sizes{12001, 300, 40}, Sizes{65536, 1024, 72}}) {
    expect_gradient_of(s, [&](int64_t n) { return n * 7 % s.vocab; });
  }
  expect_gradient_of({30000, 1000, 8}, [](int64_t n) { return n % 5 == 0 ? n / 5 % 1000 : n % 400; });
  // Few blocks a tile: each looks at its places in two turns.
  expect_gradient_of({9001, 40, 1001}, [](int64_t n) { return n * 7 % 40; });
}

// One block gathers all tokens, or one of five each, up to and beyond those that it lists in shared memory.
TEST(EmbeddingCuda, GradientOfOnePart) {
  NEEDS_GPU();
  for (const int64_t tokens : {4096, 4097, 9000}) {
    expect_gradient_of({tokens, 300, 24}, [](int64_t) { return 299; });
    expect_gradient_of({tokens, 400, 24}, [](int64_t n) { return n % 3 * 128; });
  }
  expect_gradient_of({140003, 5, 8}, [](int64_t n) { return n * 7 % 5; });
}

TEST(EmbeddingCuda, GradientOfTokensOutOfRange) {
  NEEDS_GPU();
  expect_gradient_of({700, 300, 8}, [](int64_t n) { return n % 2 == 0 ? -1 : 300; });
  expect_gradient_of({2049, 300, 8}, [](int64_t n) { return n % 3 == 0 ? -1 - n : n * n % 500; });
}

// tokens, dx and dweight are windows of other buffers, at any element.
TEST(EmbeddingCuda, GradientOfWindows) {
  NEEDS_GPU();
  const Sizes s{1157, 33, 264};
  for (const int64_t offset : {1, 2, 4, 8}) {
    for (const Bind bind : {Bind::write, Bind::add}) {
      const Forward forward = [=](Builder& b) {
        const auto window = [&](const char* name, BufferId whole, const Shape& shape) {
          const DType dtype = b.program.buffer(whole).dtype;
          return b.program.add({.name = name, .dtype = dtype, .shape = shape, .view = View{whole, offset}});
        };
        const BufferId tokens = window("window", ids(b, "tokens", 8 + s.tokens), {s.tokens});
        const BufferId dx = window("dx", b.parameter("all", {8 + s.tokens * s.columns}), {s.tokens, s.columns});
        const BufferId unit = b.parameter("unit", {8 + s.vocab * s.columns});
        const BufferId dweight = window("dweight", unit, {s.vocab, s.columns});
        b.call("embedding_grad", {tokens, dx}, {Into(dweight, bind)}, {{"vocab_size", s.vocab}});
      };
      const Tensors in = inputs(forward, {8 + s.tokens, s.vocab, s.columns});
      for (const DType dtype : kTypes) expect_cuda_equals_cpu(forward, in, dtype, {"unit"});
    }
  }
}

TEST(EmbeddingCuda, GradientOfRealisticSizes) {
  NEEDS_GPU();
  const Sizes s{8192, 32000, 1024};
  expect_gradient_equals_cpu(s, DType::bf16, DType::bf16, Onto::nothing);
  expect_gradient_equals_cpu(s, DType::bf16, DType::f32, Onto::another);
}

// (n - 1) u sum |dx|, for a segment of n tokens: id 0 has less than half of them. The largest sum is above the largest
// |dx|.
TEST(EmbeddingCuda, GradientOfAReplay) {
  NEEDS_GPU();
  const Sizes s{300, 33, 127};
  const Forward forward = scatter(s, DType::f32, Onto::another);
  const Tensors in = inputs(forward, s);
  const double terms = 300;
  expect_cuda_close(forward, in, DType::f32, {"dweight"}, terms * terms * unit_roundoff(DType::f32));
  expect_cuda_repeatable(forward, in, DType::f32, {}, {.replayed = true});
  expect_cuda_repeatable(forward, in, DType::bf16);
}

TEST(EmbeddingCuda, GradientRule) {
  NEEDS_GPU();
  const Sizes s{129, 33, 65};
  const Forward tied = [=](Builder& b) {
    const BufferId weight = b.parameter("weight", {s.vocab, s.columns});
    embedding(b, "x", ids(b, "tokens", s.tokens), weight);
    embedding(b, "y", ids(b, "before", s.tokens), weight);
  };
  const Tensors in = inputs(tied, s);
  const double terms = 129;
  expect_cuda_gradients_close(tied, in, DType::f32, {"x", "y"}, terms * terms * unit_roundoff(DType::f32));
  // bf16: the first contribution is rounded, then the sum
  expect_cuda_gradients_close(tied, in, DType::bf16, {"x", "y"}, 3 * unit_roundoff(DType::bf16));
}

}  // namespace
}  // namespace centavo::testing
