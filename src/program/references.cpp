#include "program/references.h"

#include "base/errors.h"

namespace centavo {

void remove(Program& program, BufferId id) {
  each_reference(program, [&](BufferId& other) {
    CHECK(other != id, "buffer {} is removed and referred to", program.buffer(id).name);
    other -= other > id ? 1 : 0;
  });
  program.buffers.erase(program.buffers.begin() + id);
}

}  // namespace centavo
