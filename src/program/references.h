// Who refers to a buffer: other buffers of the table, and ops.
#pragma once

#include "program/program.h"

namespace centavo {

// Is it among the op's operands?
bool reads(const Op& op, BufferId id);
bool uses(const Op& op, BufferId id);  // or its results

// Calls `visit` with every reference to a buffer that the program holds; it may change them. Some are kNone.
template <class Visit>
void each_reference(Program& program, const Visit& visit) {
  for (Buffer& b : program.buffers) {
    if (b.ring) visit(b.ring->counter);
    if (b.view) visit(b.view->parent);
    visit(b.layout);
  }
  for (Section& section : program.sections) {
    for (Op& op : section.ops) {
      for (BufferId& id : op.inputs) visit(id);
      for (Output& output : op.outputs) visit(output.buffer);
      visit(op.workspace);
    }
  }
}

// Takes a buffer out of the table: those below move up by one, and so do all references. CHECKs that none is to it.
void remove(Program& program, BufferId id);

}  // namespace centavo
