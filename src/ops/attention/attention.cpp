#include "ops/attention/attention.h"

#include <algorithm>

#include "ops/attention/tiles.h"
#include "program/gradients.h"

namespace centavo {

flash::AttentionSizes flash::attention_sizes(const OpView& v, size_t qkv, size_t cu_seqlens) {
  AttentionSizes sizes{.tokens = v.in(qkv)[0],
                       .heads = v.whole("heads"),
                       .kv_heads = v.whole("kv_heads"),
                       .window = v.whole("window"),
                       .documents = v.in(cu_seqlens)[0] - 1};
  sizes.head_size = v.in(qkv)[1] / (sizes.heads + 2 * sizes.kv_heads);
  return sizes;
}

using namespace flash;

namespace {

enum In : size_t { kQkv, kCuSeqlens, kKCache, kVCache, kPosition };
enum Out : size_t { kY, kLse, kKCacheOut, kVCacheOut };
enum GradIn : size_t { kDy, kGradQkv, kGradY, kGradLse, kGradCuSeqlens };

void expect_uniform(const OpView& v, int64_t tokens, int64_t documents) {
  const int64_t uniform = v.whole("uniform");
  const int64_t length = v.whole("max_seqlen");
  expect(uniform == 0 || uniform == 1, "uniform must be 0 or 1, it is {}", uniform);
  const bool fits = length > 0 && tokens % length == 0 && tokens / length == documents;
  expect(uniform == 0 || fits, "uniform: {} documents of {} tokens are not {} tokens", documents, length, tokens);
}

void expect_heads(const OpView& v, size_t qkv, size_t cu_seqlens) {
  const int64_t heads = v.whole("heads");
  const int64_t kv_heads = v.whole("kv_heads");
  expect(kv_heads > 0 && heads > 0 && heads % kv_heads == 0, "heads {} must be a multiple of kv_heads {}", heads,
         kv_heads);
  expect(v.whole("window") >= 0, "window must not be negative, it is {}", v.whole("window"));
  const Shape& x = v.in(qkv);
  expect(x.size() == 2, "qkv must be [N, (heads + 2 kv_heads) D], not {}", to_string(x));
  expect(heads <= x[1], "{} heads do not fit into {} columns", heads, x[1]);
  const int64_t parts = heads + 2 * kv_heads;
  expect(x[1] > 0 && x[1] % parts == 0, "qkv has {} columns, no multiple of heads + 2 kv_heads = {}", x[1], parts);
  expect(x[1] / parts <= kMaxHeadSize, "heads of size {} are larger than {}", x[1] / parts, kMaxHeadSize);
  const Shape& cu = v.in(cu_seqlens);
  expect(cu.size() == 1 && cu[0] >= 2, "cu_seqlens must be [max_docs + 1], not {}", to_string(cu));
  expect_uniform(v, x[0], cu[0] - 1);
}

void expect_cache(const OpView& v, const AttentionSizes& sizes) {
  expect(v.has_input(kVCache) == v.has_input(kKCache) && v.has_input(kPosition) == v.has_input(kKCache),
         "k_cache, v_cache and position come together");
  if (!v.has_input(kKCache)) return;
  const Shape& k = v.in(kKCache);
  const int64_t row = sizes.kv_heads * sizes.head_size;
  expect(k.size() == 3 && k[0] == sizes.documents && k[2] == row, "k_cache must be [{}, max_len, {}], not {}",
         sizes.documents, row, to_string(k));
  expect(v.in(kVCache) == k, "v_cache must be {} like k_cache, not {}", to_string(k), to_string(v.in(kVCache)));
  expect(v.in(kPosition) == Shape{sizes.documents}, "position must be [{}], not {}", sizes.documents,
         to_string(v.in(kPosition)));
}

void expect_in_place(const OpView& v, size_t in, size_t out) {
  const bool same =
      v.has_input(in) ? v.has_output(out) && v.op().outputs[out].buffer == v.op().inputs[in] : !v.has_output(out);
  expect(same, "the caches are updated in place: outputs and inputs must be the same buffers");
}

std::vector<Shape> shapes(const OpView& v) {
  expect_heads(v, kQkv, kCuSeqlens);
  const AttentionSizes sizes = attention_sizes(v, kQkv, kCuSeqlens);
  expect_cache(v, sizes);
  expect_in_place(v, kKCache, kKCacheOut);
  expect_in_place(v, kVCache, kVCacheOut);
  const Shape cache = v.has_input(kKCache) ? v.in(kKCache) : Shape{};
  return {{sizes.tokens, sizes.y_row()}, {sizes.heads, sizes.tokens}, cache, cache};
}

std::vector<Shape> grad_shapes(const OpView& v) {
  expect_heads(v, kGradQkv, kGradCuSeqlens);
  const AttentionSizes sizes = attention_sizes(v, kGradQkv, kGradCuSeqlens);
  const Shape y = {sizes.tokens, sizes.y_row()};
  const Shape lse = {sizes.heads, sizes.tokens};
  expect(v.in(kDy) == y, "dy must be {}, not {}", to_string(y), to_string(v.in(kDy)));
  expect(v.in(kGradY) == y, "y must be {}, not {}", to_string(y), to_string(v.in(kGradY)));
  expect(v.in(kGradLse) == lse, "lse must be {}, not {}", to_string(lse), to_string(v.in(kGradLse)));
  return {v.in(kGradQkv)};
}

void gradient(Gradients& g, const Op& op) {
  CHECK(op.inputs.size() <= kKCache || op.inputs[kKCache] == kNone, "attention with a cache has no gradient");
  const BufferId qkv = op.inputs[kQkv];
  const BufferId y = op.outputs[kY].buffer;
  g.emit("attention_grad", {g.of(y), qkv, y, op.outputs[kLse].buffer, op.inputs[kCuSeqlens]}, {g.into(qkv)},
         op.attributes);
}

// Keys that a token of a document of `length` tokens sees on average.
double keys_seen(double length, int64_t window) {
  const double w = window == 0 ? length : std::min(static_cast<double>(window), length);
  return length <= 0 ? 0 : (w * (w + 1) / 2 + (length - w) * w) / length;
}

// Two products of 2 D operations per query head and key seen; documents are taken to be equally long.
double forward_flops(const AttentionSizes& s, int64_t max_seqlen) {
  const double tokens = static_cast<double>(s.tokens);
  const double length =
      max_seqlen > 0 ? static_cast<double>(std::min(max_seqlen, s.tokens)) : tokens / static_cast<double>(s.documents);
  const double seen = keys_seen(length, s.window);
  return 4.0 * tokens * seen * static_cast<double>(s.y_row());
}

double cached_flops(const AttentionSizes& s, int64_t max_len) {
  const int64_t seen = s.window == 0 ? max_len : std::min(s.window, max_len);
  return 4.0 * static_cast<double>(s.tokens * seen) * static_cast<double>(s.y_row());
}

// A full cache is read; of its outputs only the rows of the new tokens are written.
Cost cost(const OpView& v) {
  const AttentionSizes sizes = attention_sizes(v, kQkv, kCuSeqlens);
  if (!v.has_input(kKCache)) return {.flops = forward_flops(sizes, v.whole("max_seqlen")), .bytes = operand_bytes(v)};
  const Buffer& k = v.input(kKCache);
  const int64_t row_bytes = k.shape[2] * size_of(k.dtype);
  const double unwritten = 2.0 * static_cast<double>(k.slot_bytes() - sizes.tokens * row_bytes);
  return {.flops = cached_flops(sizes, k.shape[1]), .bytes = operand_bytes(v) - std::max(unwritten, 0.0)};
}

// Five products instead of two: the scores again, dp, dq, dk, dv.
Cost grad_cost(const OpView& v) {
  const AttentionSizes sizes = attention_sizes(v, kGradQkv, kGradCuSeqlens);
  return {.flops = 2.5 * forward_flops(sizes, v.whole("max_seqlen")), .bytes = operand_bytes(v)};
}

std::vector<AttributeSpec> attributes() {
  return {{"heads", AttributeSpec::whole},
          {"kv_heads", AttributeSpec::whole},
          {"max_seqlen", AttributeSpec::whole},
          {"uniform", AttributeSpec::whole},
          {"window", AttributeSpec::whole}};
}

}  // namespace

BufferId attention(Builder& b, const std::string& name, BufferId qkv, BufferId cu_seqlens, const AttentionShape& shape,
                   const AttentionCache& cache) {
  return b.call("attention", {qkv, cu_seqlens, cache.k, cache.v, cache.position},
                {name, name + ".lse", Into(cache.k), Into(cache.v)},
                {{"heads", shape.heads},
                 {"kv_heads", shape.kv_heads},
                 {"max_seqlen", shape.max_seqlen},
                 {"uniform", int64_t{shape.uniform}},
                 {"window", shape.window}})[kY];
}

OpDef attention_def() {
  return {.kind = "attention",
          .inputs = {{"qkv"},
                     {"cu_seqlens", Type::i32},
                     {"k_cache", Type::compute, Slot::optional},
                     {"v_cache", Type::compute, Slot::optional},
                     {"position", Type::i32, Slot::optional}},
          .outputs = {{"y"},
                      {"lse", Type::statistic},
                      {"k_cache", Type::compute, Slot::optional, Slot::writes_only, Slot::in_place},
                      {"v_cache", Type::compute, Slot::optional, Slot::writes_only, Slot::in_place}},
          .attributes = attributes(),
          .shapes = shapes,
          .gradient = gradient,
          .cost = cost,
          .cpu = attention_cpu};
}

OpDef attention_grad_def() {
  return {.kind = "attention_grad",
          .inputs = {{"dy"}, {"qkv"}, {"y"}, {"lse", Type::statistic}, {"cu_seqlens", Type::i32}},
          .outputs = {{"dqkv"}},
          .attributes = attributes(),
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu_workspace_bytes = attention_grad_cpu_workspace,
          .cpu = attention_grad_cpu};
}

}  // namespace centavo
