#include "ops/attention/attention_cudnn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/all.h"
#include "ops/attention/attention.h"
#include "tests/support/attention_cases.h"
#include "tests/support/cuda_check.h"

#ifdef CENTAVO_CUDA
#include "machine/cuda/gpu.h"
#include "ops/cuda/libraries.h"
#endif

namespace centavo::testing {
namespace {

Case uniform(int64_t heads, int64_t kv_heads, int64_t head_size, int64_t sequences, int64_t seq, int64_t window = 0) {
  Case c{sequences * seq, {heads, kv_heads, window, seq, true}, head_size, {}};
  for (int64_t s = 0; s <= sequences; ++s) c.cu_seqlens.push_back(static_cast<double>(s * seq));
  return c;
}

// bf16 numbers.
Tensors inputs_of(const Case& c) {
  Tensors in = random_inputs(build(both_ways(c)));
  for (const char* name : {"qkv", "dy"}) in[name] = rounded(in[name], DType::bf16);
  in["cu_seqlens"] = c.cu_seqlens;
  return in;
}

double largest(const std::vector<double>& values) {
  double result = 0;
  for (const double value : values) result = std::max(result, std::fabs(value));
  return result;
}

double largest_head_norm(const std::vector<double>& values, int64_t head_size) {
  double result = 0;
  for (size_t i = 0; i < values.size(); i += static_cast<size_t>(head_size)) {
    double sum = 0;
    for (size_t d = 0; d < static_cast<size_t>(head_size); ++d) sum += values[i + d] * values[i + d];
    result = std::max(result, std::sqrt(sum));
  }
  return result;
}

// In units of the largest element. Roundoffs u of bf16: y is rounded once and its p once; a sum over dp has ds and
// delta rounded, dk and dv are rounded for each head of a group and once more. A row of p sums to 1, a column to at
// most 2 (1 + ln n) here. Scores and sums are f32, whose exponentials are good to a few roundoffs v.
struct Bounds {
  double y, lse, dqkv;
};

Bounds bounds_of(const Case& c, const Tensors& in, const Tensors& exact) {
  const double u = unit_roundoff(DType::bf16);
  const double v = unit_roundoff(DType::f32);
  const auto n = static_cast<double>(c.shape.max_seqlen);
  const double root = std::sqrt(static_cast<double>(c.head_size));
  const double value = largest(in.at("qkv"));
  const double norm = largest_head_norm(in.at("qkv"), c.head_size);
  const double score = (4 * norm * norm / root * std::log2(static_cast<double>(c.head_size)) + n + 16) * v;
  const double p = u + 2 * score;
  const double dp = largest_head_norm(in.at("dy"), c.head_size) * norm;
  const double column = 2 * (1 + std::log(n)) * static_cast<double>(c.group());
  const double sums = column * std::max(largest(in.at("dy")) * p, 3 * p * dp * value / root);
  return {u + p * value / largest(exact.at("y")), score / largest(exact.at("y.lse")),
          sums / largest(exact.at("dqkv")) + u * static_cast<double>(1 + c.group())};
}

void expect_close(const Tensors& result, const Tensors& exact, const Bounds& bound, const std::string& what) {
  expect_near(result.at("y"), exact.at("y"), bound.y, what + " y");
  expect_near(result.at("y.lse"), exact.at("y.lse"), bound.lse, what + " lse");
  expect_near(result.at("dqkv"), exact.at("dqkv"), bound.dqkv, what + " dqkv");
}

#ifdef CENTAVO_CUDA
// Both ops go through cuDNN, where this program has it.
void expect_cudnn(const Case& c, bool deterministic = false) {
  CudaTraits traits = open_gpu(0).traits;
  CudaLibraries libraries;
  traits.libraries = &libraries;
  traits.deterministic = deterministic;
  if (libraries.cudnn() == nullptr) return;
  const Program program = build(both_ways(c), DType::bf16);
  for (const Op& op : program.sections[0].ops) {
    const std::string choice = attention_cuda_choice(OpView(program, op), traits);
    EXPECT_EQ(choice.substr(0, 5), "cuDNN") << op.kind << ": " << choice;
  }
}
#else
void expect_cudnn(const Case&, bool = false) {}
#endif

void expect_case(const Case& c, bool deterministic = false) {
  SCOPED_TRACE(fmt::format("heads {}/{} of {}, {} tokens, documents {}, window {}", c.shape.heads, c.shape.kv_heads,
                           c.head_size, c.tokens, c.documents(), c.shape.window));
  expect_cudnn(c, deterministic);
  const Tensors in = inputs_of(c);
  const Tensors exact = run_step(build(both_ways(c), DType::f64), in);
  const Bounds bound = bounds_of(c, in, exact);
  for (const bool replayed : {false, true}) {
    const Tensors result = run_step_cuda(build(both_ways(c), DType::bf16), in, {deterministic, replayed});
    expect_close(result, exact, bound, replayed ? "replayed" : "launched");
  }
}

TEST(AttentionCudnnCuda, UniformSequences) {
  NEEDS_GPU();
  expect_case(uniform(2, 2, 64, 1, 256));
  expect_case(uniform(2, 2, 64, 3, 128));
  expect_case(uniform(4, 2, 128, 2, 200));  // grouped, no whole tiles
  expect_case(uniform(4, 1, 64, 3, 65));
  expect_case(uniform(2, 1, 128, 1, 1024));
}

TEST(AttentionCudnnCuda, UniformSequencesWithAWindow) {
  NEEDS_GPU();
  expect_case(uniform(4, 2, 64, 2, 300, 70));
  expect_case(uniform(2, 2, 128, 2, 256, 1));  // sees itself only
  expect_case(uniform(2, 2, 64, 2, 128, 500));
}

TEST(AttentionCudnnCuda, HeadSizes) {
  NEEDS_GPU();
  for (const int64_t head_size : {8, 32, 80, 96, 256}) expect_case(uniform(2, 1, head_size, 2, 130));
}

TEST(AttentionCudnnCuda, PackedDocuments) {
  NEEDS_GPU();
  expect_case({600, {2, 2, 0, 250, false}, 64, {0, 200, 350, 350, 600}});      // one empty
  expect_case({512, {4, 2, 0, 256, false}, 128, {0, 1, 130, 131, 387, 512}});  // grouped
  expect_case({500, {4, 1, 50, 256, false}, 64, {10, 200, 300, 480, 480}});    // window, padding on both sides
  expect_case({2048, {2, 1, 0, 1024, false}, 128, {0, 1000, 1024, 2000, 2048}});
}

// Far more documents than are handed to cuDNN; the own kernels do the others.
TEST(AttentionCudnnCuda, ManyDocuments) {
  NEEDS_GPU();
  Case c{512, {4, 2, 0, 128, false}, 64, {}};
  for (int64_t d = 0; d <= c.tokens; ++d) c.cu_seqlens.push_back(std::min<double>(7 * static_cast<double>(d), 505));
  expect_case(c);
}

TEST(AttentionCudnnCuda, PaddingIsZero) {
  NEEDS_GPU();
  const Case c{300, {4, 2, 0, 128, false}, 64, {7, 60, 60, 180, 290}};
  const Tensors out = run_step_cuda(build(both_ways(c), DType::bf16), inputs_of(c));
  for (int64_t token = 0; token < c.tokens; ++token) {
    if (token >= 7 && token < 290) continue;
    for (int64_t i = 0; i < c.columns(); ++i)
      EXPECT_EQ(out.at("dqkv")[static_cast<size_t>(token * c.columns() + i)], 0);
    for (int64_t h = 0; h < c.shape.heads; ++h)
      EXPECT_EQ(out.at("y.lse")[static_cast<size_t>(h * c.tokens + token)], 0);
    const int64_t y_row = c.shape.heads * c.head_size;
    for (int64_t i = 0; i < y_row; ++i) EXPECT_EQ(out.at("y")[static_cast<size_t>(token * y_row + i)], 0);
  }
}

TEST(AttentionCudnnCuda, WrongBoundariesAreMadeSafe) {
  NEEDS_GPU();
  const Case safe{300, {2, 1, 0, 0, false}, 64, {0, 120, 120, 300, 300}};
  const Tensors in = inputs_of(safe);
  Tensors wrong = in;
  wrong["cu_seqlens"] = {-4, 120, 2, 1000, -7};
  const Program program = build(both_ways(safe), DType::bf16);
  const Tensors expected = run_step_cuda(program, in);
  const Tensors out = run_step_cuda(program, wrong);
  for (const char* name : {"y", "y.lse"}) EXPECT_EQ(out.at(name), expected.at(name)) << name;
  expect_near(out.at("dqkv"), expected.at("dqkv"), 4 * unit_roundoff(DType::bf16), "dqkv");
}

TEST(AttentionCudnnCuda, DeterministicBackward) {
  NEEDS_GPU();
  const CudaRun how{.deterministic = true};
  for (const Case& c : {uniform(4, 2, 128, 2, 512), uniform(2, 2, 64, 3, 200)}) {
    expect_case(c, true);
    expect_cuda_repeatable(both_ways(c), inputs_of(c), DType::bf16, {}, how);
  }
}

// More scores than are kept at a time: two turns, by sequences and by heads. The free order is the reference.
TEST(AttentionCudnnCuda, DeterministicBackwardInTurns) {
  NEEDS_GPU();
  for (const Case& c : {uniform(20, 20, 64, 2, 4096), uniform(40, 20, 64, 1, 4096)}) {
    expect_cudnn(c, true);
    const Tensors in = inputs_of(c);
    const Program program = build(both_ways(c), DType::bf16);
    const Tensors free = run_step_cuda(program, in);
    const Tensors fixed = run_step_cuda(program, in, {.deterministic = true});
    EXPECT_EQ(fixed.at("y"), free.at("y"));
    const double roundoffs = static_cast<double>(2 + 2 * c.group());
    expect_near(fixed.at("dqkv"), free.at("dqkv"), roundoffs * unit_roundoff(DType::bf16), "dqkv");
  }
}

}  // namespace
}  // namespace centavo::testing
