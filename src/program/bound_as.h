// Which buffers ops bind to slots of certain types.
#pragma once

#include <initializer_list>
#include <vector>

#include "program/op_table.h"

namespace centavo {

// By buffer id: true for each root that an op of the program reads or writes, itself or through a view, in a slot of
// one of the types.
std::vector<bool> roots_bound_as(const Program& program, const OpTable& ops, std::initializer_list<Type> types);

}  // namespace centavo
