// The op table: one row per kind of op. Adding an op is adding its folder and its line in all.cpp.
#pragma once

#include "program/op_table.h"

namespace centavo {

OpTable all_ops();

}  // namespace centavo
