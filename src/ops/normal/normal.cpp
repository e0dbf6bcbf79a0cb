#include "ops/normal/normal.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  expect(v.has_output(0), "y is missing");
  expect(v.real("deviation") >= 0, "the deviation is {}; it must be at least 0", v.real("deviation"));
  expect(v.whole("begin") >= 0, "begin is {}; it must be at least 0", v.whole("begin"));
  return {v.out(0)};
}

Cost cost(const OpView& v) { return {.bytes = operand_bytes(v)}; }

}  // namespace

void normal(Builder& b, BufferId y, const NormalLaw& law, const RandomStream& random, int64_t begin) {
  b.call("normal", {}, {Into(y)},
         {{"mean", law.mean},
          {"deviation", law.deviation},
          {"seed", static_cast<int64_t>(random.key)},
          {"stream", static_cast<int64_t>(random.stream)},
          {"begin", begin}});
}

NormalCall normal_call(const OpView& v) {
  return {.law = {v.real("mean"), v.real("deviation")},
          .random = {static_cast<uint64_t>(v.whole("seed")), static_cast<uint64_t>(v.whole("stream"))},
          .begin = static_cast<uint64_t>(v.whole("begin"))};
}

OpDef normal_def() {
  return {.kind = "normal",
          .inputs = {},
          .outputs = {{"y", Type::gradient}},
          .attributes = {{"mean", AttributeSpec::real},
                         {"deviation", AttributeSpec::real},
                         {"seed", AttributeSpec::whole},
                         {"stream", AttributeSpec::whole},
                         {"begin", AttributeSpec::whole}},
          .shapes = shapes,
          .cost = cost,
          .cpu = normal_cpu};
}

}  // namespace centavo
