#include "ops/collective/group.h"

namespace centavo {
namespace {

// The smaller operand as a part of the larger, when they share memory.
void expect_own_part(const OpView& v, const Group& group, int64_t index) {
  int64_t first_x = 0;
  int64_t first_y = 0;
  const bool shared =
      v.program().root(v.op().inputs[0], &first_x) == v.program().root(v.op().outputs[0].buffer, &first_y);
  const int64_t x = v.input(0).elements();
  const int64_t y = v.output(0).elements();
  if (!shared || x == y || first_x >= first_y + y || first_y >= first_x + x) return;
  const int64_t part = (x < y ? first_x - first_y : first_y - first_x) / std::min(x, y);
  if (part == index) return;
  user_error("%{} {}: its operands overlap at part {} of {}, and this rank has part {}; make the program for this rank",
             v.op().id, v.op().kind, part, group.ranks, index);
}

}  // namespace

std::vector<AttributeSpec> group_attributes() {
  return {{"ranks", AttributeSpec::whole}, {"stride", AttributeSpec::whole}};
}

std::map<std::string, Attribute> attributes_of(const Group& group) {
  return {{"ranks", group.ranks}, {"stride", group.stride}};
}

Group group_of(const OpView& view) { return {view.whole("ranks"), view.whole("stride")}; }

void expect_group(const OpView& view) {
  const Group group = group_of(view);
  expect(group.ranks >= 1, "ranks must be at least 1, not {}", group.ranks);
  expect(group.ranks <= kMostMembers, "ranks must be at most {}, not {}", kMostMembers, group.ranks);
  expect(group.stride >= 1, "stride must be at least 1, not {}", group.stride);
  expect(group.stride <= kMostMembers, "stride must be at most {}, not {}", kMostMembers, group.stride);
}

void expect_place_in_group(const OpView& view, const Communicator* communicator) {
  const Group group = group_of(view);
  CHECK(communicator != nullptr, "%{} {} has {} members and nobody to talk to", view.op().id, view.op().kind,
        group.ranks);
  if (communicator->ranks() % (group.ranks * group.stride) != 0) {
    user_error("%{} {}: groups of {} ranks with stride {} do not fill {} ranks", view.op().id, view.op().kind,
               group.ranks, group.stride, communicator->ranks());
  }
  expect_own_part(view, group, group.index_of(communicator->rank()));
}

double ring_bytes(int64_t bytes, int64_t ranks) {
  return static_cast<double>(bytes) * static_cast<double>(ranks - 1) / static_cast<double>(ranks);
}

}  // namespace centavo
