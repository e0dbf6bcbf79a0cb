// The edges a program needs, and no other.
//
// Inside a section ops of one lane run in the order of the text; ops of different lanes run side by side unless an edge
// orders them. Given lanes and text, which edges are needed follows from what ops touch:
//
//   * two ops touch the same bytes, and one of them writes;
//   * two collectives follow each other: every rank must start them in one order;
//   * of a placed program: two buffers share an address. Then every access of the one's life must end before any of the
//     other's begins (program/lifetime.h), which the last accesses in each lane of the one and the first accesses in
//     each lane of the other decide.
//
// Most of these orders are implied by others. An op therefore looks at its needs latest first and keeps an edge only
// where its clock (how far it knows each lane to have come, program/order.h) does not show the need already. An order
// has one smallest set of edges, and this finds it: `verify` accepts the program and rejects it with any one edge less.
// An edge costs a machine an event to record and one to wait for.
//
// Runs twice. `schedule` calls it with edges that bound memory on top; after `place` it runs alone, so that of those
// edges only the ones whose addresses are now shared remain.
//
// Sources: Aho, Garey and Ullman, "The transitive reduction of a directed graph", 1972; Mattern, "Virtual time and
// global states of distributed systems", 1989 (vector clocks).
#pragma once

#include <span>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

// Op `first` must end before op `then` starts: ids in the section, `first` stands above `then`.
struct Edge {
  size_t section = 0;  // index into Program::sections
  int32_t first = 0;
  int32_t then = 0;
};

// Replaces every op's `after`. `also`: orders wanted beyond what the program needs.
Program derive_edges(Program program, const OpTable& ops, std::span<const Edge> also = {});

}  // namespace centavo
