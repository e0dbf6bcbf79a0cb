// Parameters, gradients and optimizer states laid end to end, a unit each.
//
// A network has thousands of tensors, but what costs money (an optimizer step, a gather, a reduction) is done best on
// few long rows of memory. This pass gives each group of parameters one flat buffer, the unit, and makes the parameters
// views into it; gradients get a flat buffer `UNIT.grad` with the same layout. Matrix products write weight gradients
// where a reduction will read them, and read weights where a gather has put them: nothing is ever copied in or out.
//
//   layers.I     the matrices of layer I          embed, head    a matrix outside the layers each
//   vectors      all other tensors of one dimension: the biases of products
//   norms        what norms multiply and add; kept in f32 under every precision (passes/precision.h)
//   ….frozen     the same of what is not trained
//
// Tensors of one dimension are not decayed and tiny, so all of them form two units. A tensor starts at a multiple of 64
// elements; where that leaves gaps in a gradient, `fill` ops of stage `update` close them.
//
// Source: Yandex, YaFSDP (2024); Rajbhandari et al., "ZeRO", 2020 (flat partitions).
#pragma once

#include <string>
#include <vector>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

inline constexpr int64_t kUnitAlignment = 64;  // elements

// Runs on the forward text, differentiated or not.
Program units(Program program, const OpTable& ops);

// The units of a program: flat parameter buffers, also those that a sharded program gathers.
std::vector<BufferId> unit_buffers(const Program& program);

// The views of a unit that are its tensors, by offset.
std::vector<BufferId> tensors_of(const Program& program, BufferId unit);

// Has the unit (or single parameter) tensors of one dimension, or matrices?
bool holds_vectors(const Program& program, BufferId unit);

// Elements of `flat` (a gradient of the unit) that belong to no tensor: disjoint windows, ascending.
struct Gap {
  int64_t begin = 0;
  int64_t end = 0;
};
std::vector<Gap> gaps_of(const Program& program, BufferId unit, int64_t elements);

// Ops, without ids and stages, that set the gaps of a gradient of the unit to zero. Adds or moves the windows that they
// write.
std::vector<Op> gap_fills(Program& program, BufferId unit, BufferId gradient);

}  // namespace centavo
