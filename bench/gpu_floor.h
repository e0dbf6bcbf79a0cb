// What a step cannot beat on this GPU as it is, under its power limit: the sum over the ops of
//
//   products    the seconds that cuBLASLt's choice for that very shape takes when it runs alone, back to back; what one
//               kernel does behind a product (ops/linear_swiglu/) is counted as free
//   attention   the seconds that the chosen kernel takes alone, likewise
//   head        its three products by chunk, and one read and one write of the logits at copy rate
//   the rest    bytes / copy rate
//
// Alone means: 0.4 s of the same op on normally distributed operands, of which the second half counts, so that
// clocks have settled where the power limit holds them.
#pragma once

#include <map>
#include <string>

#include "program/op_table.h"
#include "train/step_program.h"

namespace centavo {

// Seconds of a step by kind of op. Throws OutOfMemory where an op alone does not fit beside what the process holds.
std::map<std::string, double> step_floor(const OpTable& ops, const Program& training, const Worker& worker,
                                         double copy_bytes_per_second);

}  // namespace centavo
