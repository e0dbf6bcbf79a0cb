// Proves that a program obeys the rules of the language. Runs in every test and at every start.
//
//   * op kinds, operands, attributes, element types and shapes fit their rows in the op table, and so does the memory
//     that an output shares with an input (Slot::Reuse);
//   * views lie inside their parents, rings count with an i64 counter, replays name an original;
//   * every read is initialised: the bytes were written earlier in the step, or are persistent, or come from the host;
//   * conflicting accesses (same bytes, one of them a write) are ordered by lanes, edges and section calls;
//   * edges point back, and collectives stand in one order;
//   * of a placed program: every buffer lies inside its arena, aligned, and two buffers that share an address never
//     live at the same time.
#pragma once

#include <string>
#include <vector>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

// Throws UserError with the first broken rule: section, op, buffer, and what to mend.
void verify(const Program& program, const OpTable& ops);

}  // namespace centavo
