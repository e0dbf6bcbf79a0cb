#include "ops/all_gather/all_gather.h"

#include "ops/collective/alone.h"
#include "ops/collective/parts_exchange.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  expect_group(v);
  expect(v.in(0).size() == 1, "shard must be flat, [n], not {}", to_string(v.in(0)));
  return {{v.in(0)[0] * v.whole("ranks")}};
}

Cost cost(const OpView& v) {
  const int64_t ranks = v.whole("ranks");
  return {.bytes = operand_bytes(v), .wire_bytes = ring_bytes(v.input(0).slot_bytes() * ranks, ranks)};
}

CpuKernel all_gather_cpu(const OpView& v, const CpuTraits& traits) {
  if (v.whole("ranks") == 1) return alone_cpu(v);
  return [parts = PartsExchange(v, traits, v.output(0).elements()),
          bytes = v.input(0).slot_bytes()](const CpuCall& call) mutable {
    auto* full = call.out<std::byte>(0);
    copy_bytes(call.in<std::byte>(0), parts.own_part(full), bytes);
    parts.gather(full);
  };
}

}  // namespace

BufferId all_gather(Builder& b, BufferId shard, const Into& full, const Group& group) {
  return b.call("all_gather", {shard}, {full}, attributes_of(group))[0];
}

OpDef all_gather_def() {
  return {.kind = "all_gather",
          .inputs = {{"shard"}},
          .outputs = {{"full", Type::compute, Slot::required, Slot::writes_only, Slot::own_part}},
          .attributes = group_attributes(),
          .shapes = shapes,
          .collective = true,
          .cost = cost,
          .cpu = all_gather_cpu};
}

}  // namespace centavo
