#include "ops/embedding/embedding.h"

#include <algorithm>
#include <limits>

#include "program/gradients.h"

namespace centavo {
namespace {

enum In : size_t { kTokens, kWeight, kPositions, kPositionWeight };
enum GradIn : size_t { kGradTokens, kDx };

void expect_ids(int64_t tokens, int64_t vocab) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  expect(vocab >= 1 && vocab <= kMost, "the vocabulary must have 1 to {} entries, not {}", kMost, vocab);
  expect(tokens <= kMost, "there can be {} tokens at most, not {}", kMost, tokens);
}

void expect_positions(const OpView& v) {
  const bool learned = v.has_input(kPositions);
  expect(learned == v.has_input(kPositionWeight), "positions and position_weight come together");
  if (!learned) return;
  const Shape& table = v.in(kPositionWeight);
  const int64_t columns = v.in(kWeight)[1];
  expect(v.in(kPositions) == v.in(kTokens), "positions must be {} like tokens, not {}", to_string(v.in(kTokens)),
         to_string(v.in(kPositions)));
  expect(table.size() == 2 && table[1] == columns, "position_weight must be [P, {}], not {}", columns,
         to_string(table));
  expect_ids(v.in(kPositions)[0], table[0]);
}

std::vector<Shape> shapes(const OpView& v) {
  const Shape& tokens = v.in(kTokens);
  const Shape& weight = v.in(kWeight);
  expect(tokens.size() == 1, "tokens must be [N], not {}", to_string(tokens));
  expect(weight.size() == 2, "weight must be [V, C], not {}", to_string(weight));
  expect_ids(tokens[0], weight[0]);
  expect_positions(v);
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
  const BufferId dx = g.of(op.outputs[0].buffer);
  const auto emit = [&](BufferId ids, BufferId weight) {
    g.emit("embedding_grad", {ids, dx}, {g.into(weight)}, {{"vocab_size", g.program().buffer(weight).shape[0]}});
  };
  emit(op.inputs[kTokens], op.inputs[kWeight]);
  if (op.inputs.size() > kPositionWeight) emit(op.inputs[kPositions], op.inputs[kPositionWeight]);
}

// Of a table only the rows that tokens name are read, the few of positions again and again from a cache.
Cost cost(const OpView& v) {
  const auto ids = static_cast<double>(v.input(kTokens).slot_bytes());
  const auto x = static_cast<double>(v.output(0).slot_bytes());
  if (!v.has_input(kPositions)) return {.bytes = ids + 2 * x};
  const auto table = static_cast<double>(v.input(kPositionWeight).slot_bytes());
  return {.flops = static_cast<double>(v.output(0).elements()), .bytes = 2 * (ids + x) + std::min(x, table)};
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

BufferId embedding(Builder& b, const std::string& name, BufferId tokens, BufferId weight,
                   const LearnedPositions& learned) {
  if (learned.weight == kNone) return b.call("embedding", {tokens, weight}, {name})[0];
  return b.call("embedding", {tokens, weight, learned.positions, learned.weight}, {name})[0];
}

OpDef embedding_def() {
  return {.kind = "embedding",
          .inputs = {{"tokens", Type::i32},
                     {"weight"},
                     {"positions", Type::i32, Slot::optional},
                     {"position_weight", Type::compute, Slot::optional}},
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
