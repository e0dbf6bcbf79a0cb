// When the memory of a buffer matters.
//
// A life begins with a write that defines the buffer and ends with the last access before the next such write. What
// nobody reads again is dead. Activations and workspaces never outlive a section call; persistent buffers, streams and
// caches are always alive and have no lives here. A view lives as its root.
#pragma once

#include <array>
#include <vector>

#include "program/order.h"

namespace centavo {

struct Life {
  BufferId root = kNone;
  std::vector<int> instances;  // indices into the order's timeline, ascending
};

// Is the buffer alive all the time?
bool always_alive(const Buffer& buffer);
// Does a value of this kind end with its section call?
bool ends_with_call(const Buffer& buffer);

std::vector<Life> lifetimes(const Program& program, const Order& order);

// What orders a life against others: its last access in each lane of the section call where it ends, and its first in
// each lane of the call where it begins.
std::vector<int> last_accesses(const Order& order, const Life& life);
std::vector<int> first_accesses(const Order& order, const Life& life);

// Does every access of `a` finish before any of `b` starts?
bool before(const Order& order, const Life& a, const Life& b);

}  // namespace centavo
