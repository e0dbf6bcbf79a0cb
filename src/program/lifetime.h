// When the memory of a buffer matters.
//
// A life begins with a write that defines the buffer and ends with the last access before the next such write. What
// nobody reads again is dead. Activations and workspaces never outlive a section call; persistent buffers, streams and
// caches are always alive and have no lives here. A view lives as its root.
#pragma once

#include <array>
#include <unordered_map>
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

// The two ends of a life: what decides whether it lies before another.
struct Span {
  int first = 0;  // indices into the timeline
  int last = 0;
  int first_call = 0;
  int last_call = 0;
  std::vector<int> begins;  // the first access of each lane in the first call
  std::vector<int> ends;    // the last access of each lane in the last call
};

Span span_of(const Order& order, const Life& life);
// Does every access of `a` finish before any of `b` starts?
bool before(const Order& order, const Span& a, const Span& b);
// Is there a moment in which both may matter? Each holds the lives of one buffer in their order.
bool overlap(const Order& order, const std::vector<Span>& a, const std::vector<Span>& b);

// The lives of every root that has any, in their order.
std::unordered_map<BufferId, std::vector<Span>> spans(const Program& program, const Order& order);

}  // namespace centavo
