#include "ops/embedding/embedding.h"

#include <algorithm>
#include <limits>

#include "program/gradients.h"

namespace centavo {
namespace {

enum In : size_t { kTokens, kWeight };
enum GradIn : size_t { kGradTokens, kDx };

void expect_ids(int64_t tokens, int64_t vocab) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  expect(vocab >= 1 && vocab <= kMost, "the vocabulary must have 1 to {} entries, not {}", kMost, vocab);
  expect(tokens <= kMost, "there can be {} tokens at most, not {}", kMost, tokens);
}

std::vector<Shape> shapes(const OpView& v) {
  const Shape& tokens = v.in(kTokens);
  const Shape& weight = v.in(kWeight);
  expect(tokens.size() == 1, "tokens must be [N], not {}", to_string(tokens));
  expect(weight.size() == 2, "weight must be [V, C], not {}", to_string(weight));
  expect_ids(tokens[0], weight[0]);
  return {{tokens[0], weight[1]}};
}

std::vector<Shape> grad_shapes(const OpView& v) {
  const Shape& tokens = v.in(kGradTokens);
  const Shape& dx = v.in(kDx);
  expect(tokens.size() == 1, "tokens must be [N], not {}", to_string(tokens));
  expect(dx.size() == 2 && dx[0] == tokens[0], "dx must be [{}, C], not {}", tokens[0], to_string(dx));
  expect_ids(tokens[0], v.whole("vocab_size"));
  return {{v.whole("vocab_size"), dx[1]}};
}

void gradient(Gradients& g, const Op& op) {
  const BufferId weight = op.inputs[kWeight];
  const int64_t vocab = g.program().buffer(weight).shape[0];
  g.emit("embedding_grad", {op.inputs[kTokens], g.of(op.outputs[0].buffer)}, {g.into(weight)}, {{"vocab_size", vocab}});
}

// Of the table only the rows that tokens name are read.
Cost cost(const OpView& v) {
  return {.bytes = static_cast<double>(v.input(kTokens).slot_bytes() + 2 * v.output(0).slot_bytes())};
}

// An adding binding touches the rows that tokens name, a writing one the whole table.
Cost grad_cost(const OpView& v) {
  const auto elements = static_cast<double>(v.input(kDx).elements());
  const auto dweight_size = static_cast<double>(size_of(v.output(0).dtype));
  const double named = std::min(elements, static_cast<double>(v.output(0).elements()));
  const double written = v.adds(0) ? 2 * named * dweight_size : static_cast<double>(v.output(0).slot_bytes());
  const auto read = static_cast<double>(v.input(kGradTokens).slot_bytes() + v.input(kDx).slot_bytes());
  return {.flops = elements, .bytes = read + written};
}

}  // namespace

BufferId embedding(Builder& b, const std::string& name, BufferId tokens, BufferId weight) {
  return b.call("embedding", {tokens, weight}, {name})[0];
}

OpDef embedding_def() {
  return {.kind = "embedding",
          .inputs = {{"tokens", Type::i32}, {"weight"}},
          .outputs = {{"x"}},
          .attributes = {},
          .shapes = shapes,
          .gradient = gradient,
          .cost = cost,
          .cpu = embedding_cpu};
}

OpDef embedding_grad_def() {
  return {.kind = "embedding_grad",
          .inputs = {{"tokens", Type::i32}, {"dx"}},
          .outputs = {{"dweight", Type::gradient, Slot::required, Slot::can_add}},
          .attributes = {{"vocab_size", AttributeSpec::whole}},
          .shapes = grad_shapes,
          .cost = grad_cost,
          .cpu_workspace_bytes = embedding_grad_cpu_workspace,
          .cpu = embedding_grad_cpu};
}

}  // namespace centavo
