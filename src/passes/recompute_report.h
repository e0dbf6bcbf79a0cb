// What recompute has dropped and kept, for people.
#pragma once

#include <string>
#include <vector>

#include "passes/recompute.h"

namespace centavo {

// A row for each kind of tensor that the backward reads, in the order of the program.
struct RecomputeRow {
  std::string kind;      // layers.*.gate_up
  int64_t kept = 0;      // tensors of this kind
  int64_t replayed = 0;  // tensors of this kind
  int64_t bytes_kept = 0;
  int64_t bytes_saved = 0;
  double us = 0;    // of the replays that were added for tensors of this kind; dropped along with another: 0
  std::string why;  // of the last tensor of this kind
};
// Of a program that was not yet recomputed.
std::vector<RecomputeRow> recompute_report(const Program& program, const OpTable& ops, const RecomputeChoice& choice);

// The same, a line each.
std::string recompute_table(const std::vector<RecomputeRow>& rows);

}  // namespace centavo
