#include "ops/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/all.h"
#include "tests/support/attention_cases.h"
#include "tests/support/sanitized.h"

namespace centavo::testing {
namespace {

Tensors inputs_of(const Case& c, const Forward& forward) {
  Tensors in = random_inputs(build(forward));
  in["cu_seqlens"] = c.cu_seqlens;
  return in;
}

double largest(const std::vector<double>& values) {
  double result = 0;
  for (const double value : values) result = std::max(result, std::fabs(value));
  return result;
}

// The definition, with a whole row of scores at a time.
class Reference {
 public:
  Reference(const Case& c, const std::vector<double>& qkv)
      : c_(c),
        qkv_(qkv),
        y(static_cast<size_t>(c.tokens * c.shape.heads * c.head_size)),
        lse(static_cast<size_t>(c.shape.heads * c.tokens)) {
    for (int64_t d = 0; d < c.documents(); ++d) {
      for (int64_t i = begin(d); i < begin(d + 1); ++i) {
        for (int64_t h = 0; h < c.shape.heads; ++h) row(begin(d), i, h);
      }
    }
  }

 private:
  int64_t begin(int64_t d) const { return static_cast<int64_t>(c_.cu_seqlens[static_cast<size_t>(d)]); }
  double at(int64_t token, int64_t head, int64_t d) const {
    return qkv_[static_cast<size_t>(token * c_.columns() + head * c_.head_size + d)];
  }
  double score(int64_t i, int64_t j, int64_t h) const {
    double s = 0;
    for (int64_t d = 0; d < c_.head_size; ++d) s += at(i, h, d) * at(j, c_.shape.heads + kv(h), d);
    return s / std::sqrt(static_cast<double>(c_.head_size));
  }
  int64_t kv(int64_t h) const { return h / (c_.shape.heads / c_.shape.kv_heads); }

  void row(int64_t first, int64_t i, int64_t h) {
    if (c_.shape.window > 0) first = std::max(first, i - c_.shape.window + 1);
    double sum = 0;
    for (int64_t j = first; j <= i; ++j) sum += std::exp(score(i, j, h));
    lse[static_cast<size_t>(h * c_.tokens + i)] = std::log(sum);
    for (int64_t d = 0; d < c_.head_size; ++d) {
      double& out = y[static_cast<size_t>((i * c_.shape.heads + h) * c_.head_size + d)];
      for (int64_t j = first; j <= i; ++j) {
        out += std::exp(score(i, j, h)) / sum * at(j, c_.shape.heads + c_.shape.kv_heads + kv(h), d);
      }
    }
  }

  const Case& c_;
  const std::vector<double>& qkv_;

 public:
  std::vector<double> y, lse;
};

void expect_reference(const Case& c) {
  const Tensors in = inputs_of(c, attention_of(c));
  const Tensors out = run_step(build(attention_of(c), DType::f64), in);
  const Reference expected(c, in.at("qkv"));
  expect_near(out.at("y"), expected.y, 1e-13, "y");
  expect_near(out.at("y.lse"), expected.lse, 1e-13, "lse");
}

TEST(Attention, ByHand) {
  // One head of size 1. Token 1: scores 2*1 and 2*3, weights e^2 and e^6 over their sum.
  const Case c{2, {}, 1, {0, 2}};
  const Tensors out =
      run_step(build(attention_of(c), DType::f64), {{"qkv", {1, 1, 10, 2, 3, 20}}, {"cu_seqlens", {0, 2}}});
  EXPECT_DOUBLE_EQ(out.at("y")[0], 10);
  EXPECT_DOUBLE_EQ(out.at("y.lse")[0], 1);
  EXPECT_DOUBLE_EQ(out.at("y")[1], (10 * std::exp(2.0) + 20 * std::exp(6.0)) / (std::exp(2.0) + std::exp(6.0)));
  EXPECT_DOUBLE_EQ(out.at("y.lse")[1], std::log(std::exp(2.0) + std::exp(6.0)));
}

TEST(Attention, FollowsTheDefinition) {
  expect_reference({200, {}, 8, {0, 200}});
  expect_reference({150, {4, 4, 0}, 5, {0, 1, 1, 70, 150}});       // packed, one document empty
  expect_reference({150, {6, 2, 0}, 4, {0, 3, 140, 150}});         // grouped
  expect_reference({300, {2, 1, 70}, 3, {0, 10, 290, 290, 300}});  // window
  expect_reference({40, {2, 2, 1}, 256, {0, 40}});                 // sees itself only
}

TEST(Attention, PaddingIsZero) {
  const Case c{9, {2, 1, 0}, 3, {2, 5, 7, 7}};
  const Tensors in = inputs_of(c, both_ways(c));
  const Tensors out = run_step(build(both_ways(c), DType::f64), in);
  expect_near(out.at("y"), Reference(c, in.at("qkv")).y, 1e-13, "y");  // the reference leaves padding zero
  expect_near(out.at("y.lse"), Reference(c, in.at("qkv")).lse, 1e-13, "lse");
  for (const int64_t token : {0, 1, 7, 8}) {
    for (int64_t i = 0; i < c.columns(); ++i) {
      EXPECT_EQ(out.at("dqkv")[static_cast<size_t>(token * c.columns() + i)], 0.0);
    }
  }
}

TEST(Attention, WrongBoundariesAreMadeSafe) {
  Case safe{9, {2, 1, 0}, 3, {0, 5, 5, 9, 9}};
  Case wrong = safe;
  wrong.cu_seqlens = {-4, 5, 2, 1000, -7};
  const Tensors in = inputs_of(safe, both_ways(safe));
  Tensors wrong_in = in;
  wrong_in["cu_seqlens"] = wrong.cu_seqlens;
  const Tensors expected = run_step(build(both_ways(safe)), in);
  const Tensors out = run_step(build(both_ways(wrong)), wrong_in);
  for (const char* name : {"y", "y.lse", "dqkv"}) EXPECT_EQ(out.at(name), expected.at(name)) << name;
}

TEST(Attention, LargeScoresStayFinite) {
  const Case c{70, {}, 2, {0, 70}};
  Tensors in = inputs_of(c, attention_of(c));
  for (double& value : in.at("qkv")) value *= 1e9;
  const Tensors out = run_step(build(attention_of(c), DType::f32), in);
  for (const double y : out.at("y")) EXPECT_TRUE(std::fabs(y) <= 1.001 * largest(in.at("qkv"))) << y;  // a mean of v
  for (const double lse : out.at("y.lse")) EXPECT_TRUE(std::isfinite(lse)) << lse;
}

TEST(Attention, Gradients) {
  for (const int64_t window : {0, 3}) {
    const Case c{12, {4, 2, window}, 3, {0, 1, 8, 8, 11}};
    expect_gradients(attention_of(c), inputs_of(c, attention_of(c)), {"y"});
  }
}

TEST(Attention, GradientsAcrossTiles) {
  // 70 tokens are two key tiles, and with two heads in the group three row tiles; window 3 leaves the first key tile
  // unseen by the last tokens.
  for (const int64_t window : {0, 3}) {
    const Case c{70, {2, 1, window}, 1, {0, 70}};
    expect_gradients(attention_of(c), inputs_of(c, attention_of(c)), {"y"});
  }
}

// Bounds in units of the largest element, from the largest operands: e is the error of a score, in roundoffs u.
// y: (2 e + n + 8) u. dqkv, for a row of p of sum 1: dp and delta are off by 2 D max|dy| max|v| u, p by (2 e + n + 8) u
// relative, so ds by their sum, times max|k| / sqrt(D); a column of p sums to at most 1 + ln n here, taken twice.
struct Bounds {
  double y, dqkv;
};

Bounds bounds_of(const Case& c, const Tensors& in, const Tensors& exact) {
  const double n = static_cast<double>(c.tokens);
  const double d = static_cast<double>(c.head_size);
  const double value = largest(in.at("qkv"));
  const double e = (d + 4) * std::sqrt(d) * value * value;
  const double y = 2 * e + n + 8;
  const double column = 2 * (1 + std::log(n));
  const double dp = d * largest(in.at("dy")) * value;
  const double absolute = column * (y * 2 * dp + 2 * d * dp) * value / std::sqrt(d);
  return {y * value / largest(exact.at("y")), absolute / largest(exact.at("dqkv")) + 2 * y};
}

TEST(Attention, EveryDtypeAndAwkwardSize) {
  for (const int64_t tokens : {1, 31, 32, 33, 127, kSanitized ? 1024 : 4096}) {
    const double n = static_cast<double>(tokens);
    const Case c{tokens, {2, 1, 0}, 8, {0, std::floor(n / 3), n}};
    const Forward forward = both_ways(c);
    const Tensors in = inputs_of(c, forward);
    const Bounds bound = bounds_of(c, in, run_step(build(forward, DType::f64), in));
    const double u = unit_roundoff(DType::f32);
    expect_close_to_f64(forward, in, DType::f32, {"y", "y.lse"}, bound.y * u);
    expect_close_to_f64(forward, in, DType::f32, {"dqkv"}, bound.dqkv * u);
    // bf16: products and sums are f32, y is rounded once; its roundoff reaches dqkv through delta alone
    const double rounding = unit_roundoff(DType::bf16);
    expect_close_to_f64(forward, in, DType::bf16, {"y"}, rounding + bound.y * u);
    const double through_delta = rounding * 8 * largest(in.at("dy")) * largest(in.at("qkv"));
    expect_close_to_f64(forward, in, DType::bf16, {"dqkv"}, rounding + through_delta + bound.dqkv * u);
  }
}

TEST(Attention, AwkwardHeadSizes) {
  for (const int64_t head_size : {1, 31, 32, 33, 127, 256}) {
    const Case c{70, {2, 2, 0}, head_size, {0, 3, 70}};
    const Forward forward = both_ways(c);
    const Tensors in = inputs_of(c, forward);
    const Bounds bound = bounds_of(c, in, run_step(build(forward, DType::f64), in));
    expect_close_to_f64(forward, in, DType::f32, {"y", "y.lse"}, bound.y * unit_roundoff(DType::f32));
    expect_close_to_f64(forward, in, DType::f32, {"dqkv"}, bound.dqkv * unit_roundoff(DType::f32));
  }
}

TEST(Attention, Repeatable) {
  const Case c{300, {4, 2, 0}, 16, {0, 130, 200, 290}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_repeatable(both_ways(c), inputs_of(c, both_ways(c)), dtype);
  }
}

// Two sequences with a cache of max_len rows; `tokens` new ones in all.
struct Cached {
  int64_t tokens;
  AttentionShape shape;
  int64_t head_size;
  int64_t max_len;

  Case as_case() const { return {tokens, shape, head_size, {}}; }
  Shape cache() const { return {2, max_len, shape.kv_heads * head_size}; }
};

Forward cached(const Cached& c) {
  return [=](Builder& b) {
    const BufferId cu = b.stream_in("cu_seqlens", DType::i32, {3});
    const BufferId position = b.stream_in("position", DType::i32, {2});
    const BufferId qkv = b.parameter("qkv", {c.tokens, c.as_case().columns()});
    attention(b, "y", qkv, cu, c.shape, {b.cache("k", c.cache()), b.cache("v", c.cache()), position});
  };
}

// Rows [begin, end) of a matrix.
std::vector<double> rows(const std::vector<double>& matrix, int64_t columns, int64_t begin, int64_t end) {
  return {matrix.begin() + begin * columns, matrix.begin() + end * columns};
}

void append(std::vector<double>& to, const std::vector<double>& more) { to.insert(to.end(), more.begin(), more.end()); }

// Rows that hold nothing yet are NaN: reading one shows.
std::vector<double> empty_cache(const Cached& c) {
  return std::vector<double>(static_cast<size_t>(element_count(c.cache())), std::numeric_limits<double>::quiet_NaN());
}

void expect_cache_equals_full(const AttentionShape& shape, DType dtype, double bound) {
  constexpr int64_t kFirst = 9, kSecond = 7, kPrompt = 5;
  const Case full{kFirst + kSecond, shape, 3, {0, kFirst, kFirst + kSecond}};
  const Tensors in = inputs_of(full, attention_of(full));
  const std::vector<double>& qkv = in.at("qkv");
  const std::vector<double> y = run_step(build(attention_of(full), dtype), in).at("y");
  const int64_t columns = full.columns();
  const int64_t y_columns = shape.heads * 3;

  // The prompts together, then token by token; the second sequence starts two tokens later, so it has an empty
  // document in the first steps.
  Tensors state{{"k", empty_cache({0, shape, 3, 12})}, {"v", empty_cache({0, shape, 3, 12})}};
  int64_t at[2] = {0, 0};
  const auto advance = [&](int64_t first, int64_t second) {
    const Cached c{first + second, shape, 3, 12};
    state["cu_seqlens"] = {0, static_cast<double>(first), static_cast<double>(first + second)};
    state["position"] = {static_cast<double>(at[0]), static_cast<double>(at[1])};
    state["qkv"] = rows(qkv, columns, at[0], at[0] + first);
    append(state["qkv"], rows(qkv, columns, kFirst + at[1], kFirst + at[1] + second));
    Tensors out = run_step(build(cached(c), dtype), state);
    std::vector<double> expected = rows(y, y_columns, at[0], at[0] + first);
    append(expected, rows(y, y_columns, kFirst + at[1], kFirst + at[1] + second));
    expect_near(out.at("y"), expected, bound, fmt::format("y at {} and {}", at[0], at[1]));
    state["k"] = out.at("k");
    state["v"] = out.at("v");
    at[0] += first;
    at[1] += second;
  };
  advance(kPrompt, 0);
  advance(1, kPrompt);
  while (at[1] < kSecond) advance(1, 1);
  advance(1, 0);
  EXPECT_EQ(at[0], kFirst);
}

TEST(Attention, CacheEqualsFullForward) {
  for (const AttentionShape& shape : {AttentionShape{1, 1}, AttentionShape{4, 2}, AttentionShape{2, 1, 3}}) {
    expect_cache_equals_full(shape, DType::f64, 64 * unit_roundoff(DType::f64));
    expect_cache_equals_full(shape, DType::f32, 64 * unit_roundoff(DType::f32));
    expect_cache_equals_full(shape, DType::bf16, 2 * unit_roundoff(DType::bf16));
  }
}

TEST(Attention, NothingIsWrittenPastTheCache) {
  // Sequence 0 has one free row for two tokens; the position of sequence 1 is wild.
  const Cached c{3, {1, 1, 2}, 1, 4};
  const Tensors out = run_step(build(cached(c), DType::f64), {{"cu_seqlens", {0, 2, 3}},
                                                              {"position", {3, 1000}},
                                                              {"qkv", {0, 1, 10, 0, 1, 20, 0, 1, 30}},
                                                              {"k", {1, 1, 1, -1, 1, 1, 1, 1}},
                                                              {"v", {1, 2, 4, -1, 1, 1, 1, 3}}});
  EXPECT_EQ(out.at("v"), (std::vector<double>{1, 2, 4, 10, 1, 1, 1, 3}));
  EXPECT_EQ(out.at("k"), (std::vector<double>{1, 1, 1, 1, 1, 1, 1, 1}));
  // Position 3 sees rows 2 and 3; 4, past the end, sees row 3; position 4 of sequence 1 sees its row 3.
  EXPECT_EQ(out.at("y"), (std::vector<double>{7, 10, 3}));
}

TEST(Attention, MemoryIsLinear) {
  for (const int64_t tokens : {64, 1 << 20}) {
    const Case c{tokens, {4, 2, 0}, 8, {0, static_cast<double>(tokens)}};
    const Program program = build(both_ways(c));
    for (const Op& op : program.sections[0].ops) {
      const OpDef def = all_ops().at(op.kind);
      const auto workspace = def.cpu_workspace_bytes;
      const int64_t bytes = workspace == nullptr ? 0 : workspace(OpView(program, op), {.threads = 64});
      EXPECT_LE(bytes, tokens * c.shape.heads * 64) << op.kind;
    }
  }
}

TEST(Attention, CostCountsWhatIsSeen) {
  const auto flops = [](int64_t window, int64_t max_seqlen = 0) {
    const Case c{1024, {2, 1, window, max_seqlen}, 8, {0, 512, 1024}};
    const Program program = build(both_ways(c));
    const Op& forward = program.sections[0].ops[0];
    const Op& backward = program.sections[0].ops[1];
    const double f = all_ops().at("attention").cost(OpView(program, forward)).flops;
    EXPECT_DOUBLE_EQ(all_ops().at("attention_grad").cost(OpView(program, backward)).flops, 2.5 * f);
    return f;
  };
  EXPECT_DOUBLE_EQ(flops(0), 4.0 * 1024 * (513.0 / 2) * 16);
  EXPECT_DOUBLE_EQ(flops(1), 4.0 * 1024 * 1 * 16);
  EXPECT_DOUBLE_EQ(flops(4096), flops(0));
  EXPECT_DOUBLE_EQ(flops(0, 64), 4.0 * 1024 * (65.0 / 2) * 16);
  EXPECT_DOUBLE_EQ(flops(0, 4096), 4.0 * 1024 * (1025.0 / 2) * 16);
}

void expect_rejected(const Shape& qkv, const Shape& cu_seqlens, const AttentionShape& shape, const char* message) {
  expect_shape_error(
      [&](Builder& b) {
        attention(b, "y", b.parameter("qkv", qkv), b.stream_in("cu_seqlens", DType::i32, cu_seqlens), shape);
      },
      message);
}

TEST(Attention, RejectsShapes) {
  expect_rejected({4, 12}, {2}, {3, 2, 0}, "heads 3 must be a multiple of kv_heads 2");
  expect_rejected({4, 13}, {2}, {2, 2, 0}, "13 columns");
  expect_rejected({4, 3 * 257}, {2}, {1, 1, 0}, "heads of size 257");
  expect_rejected({4, 12}, {1}, {2, 2, 0}, "cu_seqlens must be [max_docs + 1]");
  expect_rejected({4, 12}, {2}, {2, 2, -1}, "window must not be negative");
}

TEST(Attention, RejectsCaches) {
  const auto with_cache = [](const Shape& k, const Shape& v, bool position) {
    return [=](Builder& b) {
      const BufferId cu = b.stream_in("cu_seqlens", DType::i32, {3});
      const BufferId at = position ? b.stream_in("position", DType::i32, {2}) : kNone;
      attention(b, "y", b.parameter("qkv", {4, 12}), cu, {2, 2, 0}, {b.cache("k", k), b.cache("v", v), at});
    };
  };
  expect_shape_error(with_cache({2, 8, 5}, {2, 8, 5}, true), "k_cache must be [2, max_len, 4]");
  expect_shape_error(with_cache({2, 8, 4}, {2, 9, 4}, true), "v_cache must be [2, 8, 4]");
  expect_shape_error(with_cache({2, 8, 4}, {2, 8, 4}, false), "come together");
}

}  // namespace
}  // namespace centavo::testing
