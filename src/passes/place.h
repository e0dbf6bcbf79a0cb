// Gives every buffer its address.
//
// From the order of the step comes, for each buffer, when its memory matters (program/lifetime.h). Two buffers may
// share an address when every access of the one finishes before any access of the other starts: then no machine needs
// an allocator, and what is planned is what is used. Persistent buffers, streams and caches come first; the rest is
// placed largest first at the lowest address where it overlaps nothing that lives at the same time. A gradient that is
// born in the backward therefore lies over dead activations, and buffers that alternate (two layers' gathered weights)
// alternate by themselves.
//
// Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020 (greedy by size).
#pragma once

#include <set>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

struct PlaceOptions {
  // Free bytes kept after each buffer, for the debug machine's guards.
  int64_t red_zone_bytes = 0;
  // Persistent buffers of these kinds belong to another program (weights shared by training and evaluation).
  std::set<BufferKind> borrow;
  // Lifetimes ignored: every buffer has its own address. For tests: placement must change no bit.
  bool share_addresses = true;
};

// Adds a workspace buffer to every op that needs scratch on a machine with these traits.
Program add_workspaces(Program program, const OpTable& ops, const MachineTraits& traits);
Program add_cpu_workspaces(Program program, const OpTable& ops, const CpuTraits& traits);

Program place(Program program, const PlaceOptions& options = {});

// Bytes of device memory by kind of buffer as placed: what each kind occupies at most (always-alive kinds), and for
// kinds that share addresses the extent they cover. For the table printed before a run.
struct RegionBytes {
  BufferKind kind;
  int64_t bytes;        // sum over buffers
  bool shares = false;  // the sum may exceed what they occupy together
};
std::vector<RegionBytes> regions(const Program& program);
// The same, a line each.
std::string region_table(const Program& program);

}  // namespace centavo
