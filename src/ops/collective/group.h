// Who takes part in a collective op, and what a group's traffic costs.
//
// An op's attributes `ranks` and `stride` are the Group of base/communicator.h: its members are the ranks that differ
// by multiples of `stride`.
#pragma once

#include "base/communicator.h"
#include "program/op_table.h"

namespace centavo {

inline constexpr int64_t kMostMembers = 1 << 16;

std::vector<AttributeSpec> group_attributes();
std::map<std::string, Attribute> attributes_of(const Group& group);
Group group_of(const OpView& view);

// The shape rules' first question. Throws ShapeError.
void expect_group(const OpView& view);

// CHECKs that the group is not alone without a communicator. Throws UserError when the groups do not fill the world,
// or when one operand lies inside the other and not at this rank's part: the program was made for another rank.
void expect_place_in_group(const OpView& view, const Communicator* communicator);

// Bytes one rank sends when `bytes` of all members together go once around a ring: bytes (R - 1) / R. Direct
// messages between all pairs send as much.
// Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
double ring_bytes(int64_t bytes, int64_t ranks);

}  // namespace centavo
