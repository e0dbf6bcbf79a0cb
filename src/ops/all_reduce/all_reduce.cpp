#include "ops/all_reduce/all_reduce.h"

#include "ops/all_reduce/single_rank.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  expect_ranks(v);
  expect(!v.has_output(0) || v.output(0).dtype == v.input(0).dtype, "y must be {} like x", name_of(v.input(0).dtype));
  return {v.in(0)};
}

Cost cost(const OpView& v) {
  const int64_t ranks = v.whole("ranks");
  return {
      .flops = static_cast<double>(v.input(0).elements()) * static_cast<double>(ranks - 1) / static_cast<double>(ranks),
      .bytes = operand_bytes(v),
      .wire_bytes = 2 * ring_bytes(v.input(0).slot_bytes(), ranks)};
}

}  // namespace

BufferId all_reduce(Builder& b, BufferId x, const Into& y, int64_t ranks) {
  return b.call("all_reduce", {x}, {y}, {{"ranks", ranks}})[0];
}

OpDef all_reduce_def() {
  return {.kind = "all_reduce",
          .inputs = {{"x", Type::any}},
          .outputs = {{"y", Type::any, Slot::required, Slot::writes_only, Slot::in_place}},
          .attributes = {{"ranks", AttributeSpec::whole}},
          .shapes = shapes,
          .collective = true,
          .cost = cost,
          .cpu = single_rank_cpu};
}

}  // namespace centavo
