#include "ops/reduce_scatter/reduce_scatter.h"

#include "ops/all_reduce/single_rank.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  const Shape& full = v.in(0);
  expect_ranks(v);
  expect(full.size() == 1, "full must be flat, [n], not {}", to_string(full));
  expect(full[0] % v.whole("ranks") == 0, "full has {} elements, not a multiple of {} ranks", full[0],
         v.whole("ranks"));
  return {{full[0] / v.whole("ranks")}};
}

Cost cost(const OpView& v) {
  const int64_t ranks = v.whole("ranks");
  const double shard = static_cast<double>(v.input(0).elements()) / static_cast<double>(ranks);
  return {.flops = shard * static_cast<double>(ranks - 1 + (v.adds(0) ? 1 : 0)),
          .bytes = operand_bytes(v),
          .wire_bytes = ring_bytes(v.input(0).slot_bytes(), ranks)};
}

}  // namespace

BufferId reduce_scatter(Builder& b, BufferId full, const Into& shard, int64_t ranks) {
  return b.call("reduce_scatter", {full}, {shard}, {{"ranks", ranks}})[0];
}

OpDef reduce_scatter_def() {
  return {.kind = "reduce_scatter",
          .inputs = {{"full"}},
          .outputs = {{"shard", Type::compute, Slot::required, Slot::can_add, Slot::in_place}},
          .attributes = {{"ranks", AttributeSpec::whole}},
          .shapes = shapes,
          .collective = true,
          .cost = cost,
          .cpu = single_rank_cpu};
}

}  // namespace centavo
