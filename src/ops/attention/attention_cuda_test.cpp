#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/all.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_cuda.h"
#include "tests/support/attention_cases.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

// The own kernels, also where the product takes cuDNN.
const OpTable& own_kernels() {
  static const OpTable table = [] {
    std::vector<OpDef> rows = all_ops().rows();
#ifdef CENTAVO_CUDA
    for (OpDef& row : rows) {
      if (row.kind == "attention") {
        row.cuda = attention_own_cuda;
        row.cuda_workspace_bytes = attention_own_cuda_workspace;
      } else if (row.kind == "attention_grad") {
        row.cuda = attention_grad_own_cuda;
        row.cuda_workspace_bytes = attention_grad_own_cuda_workspace;
      }
    }
#endif
    return OpTable(std::move(rows));
  }();
  return table;
}

Tensors run_own(const Program& program, const Tensors& inputs, bool replayed = false) {
  return run_step_cuda(program, inputs, {.replayed = replayed, .ops = &own_kernels()});
}

// Roundings to bf16 (y; weights and gradients of scores before their products; dqkv) have independent signs: together
// they are a few roundoffs of the largest element. The f32 sums of a few hundred terms add as little to f32.
constexpr double kBf16Roundoffs = 4;
constexpr double kF32Roundoffs = 64;

double bound_of(DType dtype) { return unit_roundoff(dtype) * (dtype == DType::bf16 ? kBf16Roundoffs : kF32Roundoffs); }

Tensors inputs_of(const Case& c, const Forward& forward) {
  Tensors in = random_inputs(build(forward));
  in["cu_seqlens"] = c.cu_seqlens;
  return in;
}

void expect_close(const Case& c) {
  const Tensors in = inputs_of(c, both_ways(c));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    SCOPED_TRACE(fmt::format("{} tokens, {}/{} heads of {}, window {}", c.tokens, c.shape.heads, c.shape.kv_heads,
                             c.head_size, c.shape.window));
    expect_cuda_close(both_ways(c), in, dtype, {"y", "y.lse", "dqkv"}, bound_of(dtype), {.ops = &own_kernels()});
  }
}

TEST(AttentionCuda, AwkwardSizes) {
  NEEDS_GPU();
  for (const int64_t tokens : {1, 31, 32, 33, 127, 200}) {
    const double n = static_cast<double>(tokens);
    expect_close({tokens, {2, 1, 0}, 8, {0, std::floor(n / 3), n}});
  }
}

TEST(AttentionCuda, HeadSizes) {
  NEEDS_GPU();
  // Tensor cores: each padded width, filled and not.
  for (const int64_t head_size : {8, 40, 64, 72, 96, 104, 128, 136, 256}) {
    expect_close({140, {4, 2, 0}, head_size, {0, 3, 140}});
  }
  // No whole vectors: plain arithmetic.
  for (const int64_t head_size : {1, 31, 33, 127, 250}) expect_close({70, {2, 2, 0}, head_size, {0, 3, 70}});
}

TEST(AttentionCuda, DocumentsGroupsAndWindows) {
  NEEDS_GPU();
  for (const int64_t head_size : {8, 64}) {
    expect_close({150, {4, 4, 0}, head_size, {0, 1, 1, 70, 150}});             // one document empty
    expect_close({150, {6, 2, 0}, head_size, {0, 3, 140, 150}});               // groups of three
    expect_close({90, {14, 2, 0}, head_size, {0, 90}});                        // groups of seven
    expect_close({300, {2, 1, 70}, head_size, {0, 10, 290, 290, 300}});        // window across tiles
    expect_close({300, {3, 1, 5}, head_size, {0, 300}});                       // window inside tiles
    expect_close({140, {2, 2, 1}, head_size, {0, 140}});                       // sees itself only
    expect_close({140, {2, 2, 1000}, head_size, {0, 140}});                    // window past all
    expect_close({130, {2, 1, 9}, head_size, {7, 12, 12, 12, 80, 101, 101}});  // padding on both sides
  }
}

TEST(AttentionCuda, ManyDocuments) {
  NEEDS_GPU();
  Case c{1500, {2, 1, 0}, 16, {}};
  for (int d = 0; d <= 3000; ++d) c.cu_seqlens.push_back(std::min(1490, d * 2 / 3 + d / 900 * 60));
  expect_close(c);
}

TEST(AttentionCuda, Realistic) {
  NEEDS_GPU();
  expect_close({2048, {8, 2, 0}, 128, {0, 100, 1500, 2040}});
  expect_close({2048, {4, 4, 256}, 64, {0, 1024, 2048}});
}

TEST(AttentionCuda, Gradients) {
  NEEDS_GPU();
  const Case c{150, {4, 2, 0}, 24, {0, 70, 150}};
  expect_cuda_gradients_close(attention_of(c), inputs_of(c, attention_of(c)), DType::f32, {"y"}, bound_of(DType::f32),
                              {.ops = &own_kernels()});
}

TEST(AttentionCuda, PaddingIsZeroWhateverItHolds) {
  NEEDS_GPU();
  const int64_t head_size = 8;
  const Case c{140, {2, 1, 0}, head_size, {3, 70, 135}};
  Tensors in = inputs_of(c, both_ways(c));
  const auto is_padding = [](int64_t token) { return token < 3 || token >= 135; };
  for (int64_t token = 0; token < c.tokens; ++token) {
    if (!is_padding(token)) continue;
    for (int64_t i = 0; i < c.columns(); ++i) {
      in["qkv"][static_cast<size_t>(token * c.columns() + i)] = std::numeric_limits<double>::quiet_NaN();
    }
  }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors out = run_own(build(both_ways(c), dtype), in);
    for (int64_t token = 0; token < c.tokens; ++token) {
      for (int64_t i = 0; i < c.columns(); ++i) {
        const double value = out.at("dqkv")[static_cast<size_t>(token * c.columns() + i)];
        EXPECT_TRUE(is_padding(token) ? value == 0 : std::isfinite(value)) << token << " " << i;
      }
      for (int64_t i = 0; i < 2 * head_size; ++i) {
        const double value = out.at("y")[static_cast<size_t>(token * 2 * head_size + i)];
        EXPECT_TRUE(is_padding(token) ? value == 0 : std::isfinite(value)) << token << " " << i;
      }
      for (int64_t h = 0; h < 2; ++h) {
        const double value = out.at("y.lse")[static_cast<size_t>(h * c.tokens + token)];
        EXPECT_TRUE(is_padding(token) ? value == 0 : std::isfinite(value)) << token;
      }
    }
  }
}

TEST(AttentionCuda, NaNStaysInItsDocument) {
  NEEDS_GPU();
  const Case c{140, {2, 1, 0}, 8, {0, 70, 140}};
  Tensors in = inputs_of(c, both_ways(c));
  for (int64_t i = 0; i < c.columns(); ++i) {
    in["qkv"][static_cast<size_t>(20 * c.columns() + i)] = std::numeric_limits<double>::quiet_NaN();
  }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors out = run_own(build(both_ways(c), dtype), in);
    EXPECT_TRUE(std::isnan(out.at("y")[20 * 16]));
    EXPECT_TRUE(std::isnan(out.at("dqkv")[static_cast<size_t>(20 * c.columns())]));
    for (size_t i = 70 * 16; i < 140 * 16; ++i) EXPECT_TRUE(std::isfinite(out.at("y")[i])) << i;
    for (size_t i = static_cast<size_t>(70 * c.columns()); i < out.at("dqkv").size(); ++i) {
      EXPECT_TRUE(std::isfinite(out.at("dqkv")[i])) << i;
    }
  }
}

TEST(AttentionCuda, WrongBoundariesAreMadeSafe) {
  NEEDS_GPU();
  const Case safe{140, {2, 1, 0}, 8, {0, 75, 75, 140, 140}};
  const Tensors in = inputs_of(safe, both_ways(safe));
  Tensors wrong = in;
  wrong["cu_seqlens"] = {-4, 75, 2, 1000, -7};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors expected = run_own(build(both_ways(safe), dtype), in);
    const Tensors out = run_own(build(both_ways(safe), dtype), wrong);
    for (const char* name : {"y", "y.lse", "dqkv"}) EXPECT_EQ(out.at(name), expected.at(name)) << name;
  }
}

TEST(AttentionCuda, LargeScoresStayFinite) {
  NEEDS_GPU();
  const Case c{140, {1, 1, 0}, 8, {0, 140}};
  Tensors in = inputs_of(c, attention_of(c));
  double largest = 0;
  for (double& value : in.at("qkv")) largest = std::max(largest, std::fabs(value *= 1e9));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors out = run_own(build(attention_of(c), dtype), in);
    for (const double y : out.at("y")) EXPECT_TRUE(std::fabs(y) <= 1.01 * largest) << y;  // a mean of v
    for (const double lse : out.at("y.lse")) EXPECT_TRUE(std::isfinite(lse)) << lse;
  }
}

TEST(AttentionCuda, Repeatable) {
  NEEDS_GPU();
  for (const int64_t head_size : {16, 128}) {
    const Case c{300, {4, 2, 0}, head_size, {0, 130, 200, 290}};
    for (const DType dtype : {DType::f32, DType::bf16}) {
      expect_cuda_repeatable(both_ways(c), inputs_of(c, both_ways(c)), dtype, {}, {.ops = &own_kernels()});
    }
  }
}

// Sequences with a cache of max_len rows, at these positions; cu_seqlens of the new tokens.
struct Cached {
  Case c;
  int64_t max_len;
  std::vector<double> positions;

  Shape cache() const { return {c.documents(), max_len, c.shape.kv_heads * c.head_size}; }
};

Forward cached(const Cached& cached) {
  return [=](Builder& b) {
    const Case& c = cached.c;
    const BufferId cu = b.stream_in("cu_seqlens", DType::i32, {c.documents() + 1});
    const BufferId position = b.stream_in("position", DType::i32, {c.documents()});
    const BufferId qkv = b.parameter("qkv", {c.tokens, c.columns()});
    attention(b, "y", qkv, cu, c.shape, {b.cache("k", cached.cache()), b.cache("v", cached.cache()), position});
  };
}

// Rows before a document's position are random, rows that hold nothing yet are NaN: reading one shows.
std::vector<double> cache_of(const Cached& cached, const std::string& name) {
  const int64_t row = cached.cache()[2];
  std::vector<double> values = random_values(name, element_count(cached.cache()));
  for (size_t d = 0; d < cached.positions.size(); ++d) {
    const int64_t document = static_cast<int64_t>(d) * cached.max_len;
    const int64_t filled = std::min(static_cast<int64_t>(cached.positions[d]), cached.max_len);
    std::fill(values.begin() + (document + filled) * row, values.begin() + (document + cached.max_len) * row,
              std::numeric_limits<double>::quiet_NaN());
  }
  return values;
}

void expect_cache_close(const Cached& cached_case) {
  Tensors in = inputs_of(cached_case.c, cached(cached_case));
  in["position"] = cached_case.positions;
  for (const char* name : {"k", "v"}) in[name] = cache_of(cached_case, name);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors rounded_in = run_step(build(cached(cached_case), dtype), in);  // its inputs come back rounded
    Tensors exact_in = in;
    exact_in["qkv"] = rounded_in.at("qkv");
    for (const char* name : {"k", "v"}) exact_in[name] = rounded(in[name], dtype);
    const Tensors exact = run_step(build(cached(cached_case), DType::f64), exact_in);
    for (const bool replayed : {false, true}) {
      const Tensors out = run_own(build(cached(cached_case), dtype), exact_in, replayed);
      for (const char* name : {"y", "y.lse"}) expect_near(out.at(name), exact.at(name), bound_of(dtype), name);
      for (const char* name : {"k", "v"}) {
        for (size_t i = 0; i < exact.at(name).size(); ++i) {
          const double a = out.at(name)[i], b = exact.at(name)[i];
          EXPECT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << name << " " << i << ": " << a << " and " << b;
        }
      }
    }
  }
}

TEST(AttentionCuda, Cache) {
  NEEDS_GPU();
  for (const int64_t head_size : {3, 8, 64, 128}) {
    const Cached decoding = {{3, {4, 2, 0}, head_size, {0, 1, 2, 2, 3}}, 300, {200, 0, 7, 299}};
    const Cached prefilling = {{150, {6, 2, 0}, head_size, {0, 80, 150}}, 300, {90, 0}};
    const Cached window_and_padding = {{20, {2, 1, 40}, head_size, {2, 10, 18}}, 150, {120, 0}};
    const Cached past_the_end = {{12, {2, 1, 3}, head_size, {0, 8, 10, 12}}, 70, {66, 70, 68}};
    for (const Cached* c : {&decoding, &prefilling, &window_and_padding, &past_the_end}) expect_cache_close(*c);
  }
}

TEST(AttentionCuda, NothingIsWrittenPastTheCache) {
  NEEDS_GPU();
  // Sequence 0 has one free row for two tokens; the position of sequence 1 is wild.
  const Cached c{{3, {1, 1, 2}, 1, {0, 2, 3}}, 4, {3, 1000}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensors out = run_own(build(cached(c), dtype), {{"cu_seqlens", {0, 2, 3}},
                                                          {"position", {3, 1000}},
                                                          {"qkv", {0, 1, 10, 0, 1, 20, 0, 1, 30}},
                                                          {"k", {1, 1, 1, -1, 1, 1, 1, 1}},
                                                          {"v", {1, 2, 4, -1, 1, 1, 1, 3}}});
    EXPECT_EQ(out.at("v"), (std::vector<double>{1, 2, 4, 10, 1, 1, 1, 3}));
    EXPECT_EQ(out.at("k"), (std::vector<double>{1, 1, 1, 1, 1, 1, 1, 1}));
    // Position 3 sees rows 2 and 3; 4, past the end, sees row 3; position 4 of sequence 1 sees its row 3.
    EXPECT_EQ(out.at("y"), (std::vector<double>{7, 10, 3}));
  }
}

}  // namespace
}  // namespace centavo::testing
