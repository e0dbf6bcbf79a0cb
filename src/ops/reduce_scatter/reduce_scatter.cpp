#include "ops/reduce_scatter/reduce_scatter.h"

#include "ops/collective/alone.h"
#include "ops/collective/parts_exchange.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  const Shape& full = v.in(0);
  expect_group(v);
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

int64_t workspace_bytes(const OpView& v, const CpuTraits&) {
  return PartsExchange::workspace_bytes(v, v.input(0).elements());
}

CpuKernel reduce_scatter_cpu(const OpView& v, const CpuTraits& traits) {
  if (v.whole("ranks") == 1) return alone_cpu(v);
  return [parts = PartsExchange(v, traits, v.input(0).elements()),
          bind = v.op().outputs[0].bind](const CpuCall& call) mutable {
    parts.reduce(call.in<std::byte>(0), call.out<std::byte>(0), bind, static_cast<std::byte*>(call.workspace));
  };
}

}  // namespace

BufferId reduce_scatter(Builder& b, BufferId full, const Into& shard, const Group& group) {
  return b.call("reduce_scatter", {full}, {shard}, attributes_of(group))[0];
}

OpDef reduce_scatter_def() {
  return {.kind = "reduce_scatter",
          .inputs = {{"full"}},
          .outputs = {{"shard", Type::compute, Slot::required, Slot::can_add, Slot::own_part}},
          .attributes = group_attributes(),
          .shapes = shapes,
          .collective = true,
          .cost = cost,
          .cpu_workspace_bytes = workspace_bytes,
          .cpu = reduce_scatter_cpu};
}

}  // namespace centavo
