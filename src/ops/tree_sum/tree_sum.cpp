#include "ops/tree_sum/tree_sum.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  const int64_t parts = v.whole("parts");
  const int64_t stride = v.whole("stride");
  const int64_t begin = v.whole("begin");
  const int64_t count = v.whole("count");
  const int64_t elements = v.input(0).elements();
  expect(parts >= 1 && stride >= 0 && begin >= 0 && count >= 0, "parts must be at least 1 and no attribute negative");
  expect(parts <= elements && stride <= elements && begin <= elements && count <= elements &&
             (parts - 1) * stride + begin + count <= elements,
         "{} parts of {} from {} on, {} apart, do not lie inside {} partials", parts, count, begin, stride, elements);
  return {{1}};
}

Cost cost(const OpView& v) {
  const auto terms = static_cast<double>(v.whole("parts") * v.whole("count"));
  return {.flops = terms, .bytes = 4 * (terms + 1)};
}

}  // namespace

std::map<std::string, Attribute> tree_sum_attributes(const TreeWindow& w) {
  return {{"parts", w.parts}, {"stride", w.stride}, {"begin", w.begin}, {"count", w.count}};
}

BufferId tree_sum(Builder& b, BufferId partials, const Into& sum, const TreeWindow& window) {
  return b.call("tree_sum", {partials}, {sum}, tree_sum_attributes(window))[0];
}

OpDef tree_sum_def() {
  return {.kind = "tree_sum",
          .inputs = {{"partials", Type::f32}},
          .outputs = {{"sum", Type::f32}},
          .attributes = {{"parts", AttributeSpec::whole},
                         {"stride", AttributeSpec::whole},
                         {"begin", AttributeSpec::whole},
                         {"count", AttributeSpec::whole}},
          .shapes = shapes,
          .cost = cost,
          .cpu = tree_sum_cpu};
}

}  // namespace centavo
