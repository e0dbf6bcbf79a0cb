#include "ops/all_reduce/all_reduce.h"

#include "ops/collective/alone.h"
#include "ops/collective/member_sum.h"
#include "ops/collective/parts_exchange.h"

namespace centavo {
namespace {

std::vector<Shape> shapes(const OpView& v) {
  expect_group(v);
  expect(has_member_sum(v.input(0).dtype), "x must be f64, f32, bf16, i32 or i64, not {}", name_of(v.input(0).dtype));
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

int64_t workspace_bytes(const OpView& v, const CpuTraits&) {
  return PartsExchange::workspace_bytes(v, v.input(0).elements());
}

// Everyone sums a part, then the parts are gathered.
CpuKernel all_reduce_cpu(const OpView& v, const CpuTraits& traits) {
  if (v.whole("ranks") == 1) return alone_cpu(v);
  return [parts = PartsExchange(v, traits, v.input(0).elements())](const CpuCall& call) mutable {
    auto* y = call.out<std::byte>(0);
    parts.reduce(call.in<std::byte>(0), parts.own_part(y), Bind::write, static_cast<std::byte*>(call.workspace));
    parts.gather(y);
  };
}

}  // namespace

BufferId all_reduce(Builder& b, BufferId x, const Into& y, const Group& group) {
  return b.call("all_reduce", {x}, {y}, attributes_of(group))[0];
}

OpDef all_reduce_def() {
  return {.kind = "all_reduce",
          .inputs = {{"x", Type::any}},
          .outputs = {{"y", Type::any, Slot::required, Slot::writes_only, Slot::in_place}},
          .attributes = group_attributes(),
          .shapes = shapes,
          .collective = true,
          .cost = cost,
          .cpu_workspace_bytes = workspace_bytes,
          .cpu = all_reduce_cpu};
}

}  // namespace centavo
