#include "ops/rope/rope.h"

#include "program/gradients.h"

namespace centavo {
namespace {

enum In : size_t { kQkv, kTable };

std::vector<Shape> table_shapes(const OpView& v) {
  const Shape& positions = v.in(0);
  const int64_t head_dim = v.whole("head_dim");
  expect(positions.size() == 1, "positions must be [N], not {}", to_string(positions));
  expect(head_dim > 0 && head_dim % 2 == 0, "head_dim must be even and positive, not {}", head_dim);
  expect(v.real("theta") > 0, "theta must be positive, not {}", v.real("theta"));
  return {{positions[0], head_dim}};
}

// For the forward and the backward alike: what is rotated comes first.
std::vector<Shape> shapes(const OpView& v) {
  const Shape& qkv = v.in(kQkv);
  const int64_t heads = v.whole("heads");
  const int64_t kv_heads = v.whole("kv_heads");
  expect(qkv.size() == 2, "qkv must be [N, (H + 2K) * D], not {}", to_string(qkv));
  expect(heads > 0 && kv_heads > 0 && heads <= qkv[1] && kv_heads <= qkv[1],
         "heads {} and kv_heads {} must be positive and fit into {} columns", heads, kv_heads, qkv[1]);
  const int64_t all_heads = heads + 2 * kv_heads;
  expect(qkv[1] % (2 * all_heads) == 0, "qkv must have {} heads of an even size, not {} columns", all_heads, qkv[1]);
  const Shape table = {qkv[0], qkv[1] / all_heads};
  expect(v.in(kTable) == table, "table must be {}, not {}", to_string(table), to_string(v.in(kTable)));
  return {qkv};
}

void gradient(Gradients& g, const Op& op) {
  g.emit("rope_grad", {g.of(op.outputs[0].buffer), op.inputs[kTable]}, {g.into(op.inputs[kQkv])}, op.attributes);
}

// A frequency product, a cosine and a sine: about 20 operations each.
Cost table_cost(const OpView& v) {
  return {.flops = 20.0 * static_cast<double>(v.output(0).elements()), .bytes = operand_bytes(v)};
}

// Four products and two sums for each pair of a query or key head.
Cost cost(const OpView& v) {
  const double rotated = static_cast<double>(v.whole("heads") + v.whole("kv_heads"));
  return {.flops = 3.0 * rotated * static_cast<double>(v.input(kTable).elements()), .bytes = operand_bytes(v)};
}

}  // namespace

BufferId rope_table(Builder& b, const std::string& name, BufferId positions, int64_t head_dim, double theta) {
  return b.call("rope_table", {positions}, {name}, {{"head_dim", head_dim}, {"theta", theta}})[0];
}

BufferId rope(Builder& b, const std::string& name, BufferId qkv, BufferId table, int64_t heads, int64_t kv_heads) {
  return b.call("rope", {qkv, table}, {name}, {{"heads", heads}, {"kv_heads", kv_heads}})[0];
}

OpDef rope_table_def() {
  return {.kind = "rope_table",
          .inputs = {{"positions", Type::i32}},
          .outputs = {{"table", Type::statistic}},
          .attributes = {{"head_dim", AttributeSpec::whole}, {"theta", AttributeSpec::real}},
          .shapes = table_shapes,
          .cost = table_cost,
          .cpu = rope_table_cpu};
}

OpDef rope_def() {
  return {.kind = "rope",
          .inputs = {{"qkv"}, {"table", Type::statistic}},
          .outputs = {{"y"}},
          .attributes = {{"heads", AttributeSpec::whole}, {"kv_heads", AttributeSpec::whole}},
          .shapes = shapes,
          .gradient = gradient,
          .cost = cost,
          .cpu = rope_cpu};
}

OpDef rope_grad_def() {
  return {.kind = "rope_grad",
          .inputs = {{"dy"}, {"table", Type::statistic}},
          .outputs = {{"dqkv"}},
          .attributes = {{"heads", AttributeSpec::whole}, {"kv_heads", AttributeSpec::whole}},
          .shapes = shapes,
          .cost = cost,
          .cpu = rope_grad_cpu};
}

}  // namespace centavo
