// What an op instance touches, in bytes of root buffers.
#pragma once

#include <vector>

#include "program/program.h"

namespace centavo {

struct Access {
  BufferId buffer = kNone;  // as named by the op
  BufferId root = kNone;    // the buffer that owns the memory
  int64_t begin = 0;        // bytes in the root (in one of its slots when it is a ring)
  int64_t end = 0;
  enum Mode : uint8_t {
    read,
    write,   // every byte is defined, what stood there is lost
    update,  // what stood there matters: `add`, or an output that is an input as well
  } mode = read;
};

// Reads first, then updates, then writes, so that an input that contains an output or lies inside it (Slot::own_part)
// is read in the life that the write would end. Includes ring counters (read) and the workspace (write).
std::vector<Access> accesses(const Program& program, const Op& op);

// Do both touch bytes that one of them writes? Otherwise they may change places.
bool conflict(const Program& program, const Op& a, const Op& b);

}  // namespace centavo
