// What the collectives have in common: the CPU kernel of a world of one rank, and the traffic of a ring.
//
// With one rank every collective is y = x, or y += x where the output is bound to add (carried in the accumulator,
// rounded once). x and y hold the same number of elements of one type. Written in place when x and y are the same
// memory; added x and y must not overlap.
#pragma once

#include "program/op_table.h"

namespace centavo {

// CHECKs that the op's `ranks` is 1: the CPU machine refuses programs of more ranks before it prepares kernels.
CpuKernel single_rank_cpu(const OpView& view, const CpuTraits& traits);

// Bytes one rank sends when `bytes` of all ranks together go once around a ring: bytes (R - 1) / R.
// Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
double ring_bytes(int64_t bytes, int64_t ranks);

// The shape rules' first question.
void expect_ranks(const OpView& view);

}  // namespace centavo
