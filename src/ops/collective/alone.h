// The collectives of a group of one member, and what they all move memory with.
//
// With one member every collective is y = x, or y += x where the output is bound to add (carried in the accumulator,
// rounded once). x and y hold the same number of elements of one type. Nothing moves when x and y are the same memory;
// added x and y must not overlap.
#pragma once

#include "program/op_table.h"

namespace centavo {

CpuKernel alone_cpu(const OpView& view);

// On all threads; `from` and `to` are apart, or the same.
void copy_bytes(const std::byte* from, std::byte* to, int64_t bytes);

}  // namespace centavo
