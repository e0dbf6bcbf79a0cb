#include "ops/all_gather/all_gather.h"

#include "ops/all_reduce/single_rank.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  expect_ranks(v);
  expect(v.in(0).size() == 1, "shard must be flat, [n], not {}", to_string(v.in(0)));
  return {{v.in(0)[0] * v.whole("ranks")}};
}

Cost cost(const OpView& v) {
  const int64_t ranks = v.whole("ranks");
  return {.bytes = operand_bytes(v), .wire_bytes = ring_bytes(v.input(0).slot_bytes() * ranks, ranks)};
}

}  // namespace

BufferId all_gather(Builder& b, BufferId shard, const Into& full, int64_t ranks) {
  return b.call("all_gather", {shard}, {full}, {{"ranks", ranks}})[0];
}

OpDef all_gather_def() {
  return {.kind = "all_gather",
          .inputs = {{"shard"}},
          .outputs = {{"full", Type::compute, Slot::required, Slot::writes_only, Slot::in_place}},
          .attributes = {{"ranks", AttributeSpec::whole}},
          .shapes = shapes,
          .collective = true,
          .cost = cost,
          .cpu = single_rank_cpu};
}

}  // namespace centavo
