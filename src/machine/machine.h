// What every machine can do: run the step of a placed program on its own memory.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/byte_source.h"
#include "program/program.h"

namespace centavo {

class OpTable;  // program/op_table.h

// Called after each op of a step that is run op by op: `call` counts section calls of the step.
using OpObserver = std::function<void(int64_t call, const Section& section, const Op& op)>;

struct Span;  // machine/virtual/virtual_machine.h

class Machine {
 public:
  virtual ~Machine() = default;

  virtual const Program& program() const = 0;

  // Runs the whole step. With an observer, op by op.
  virtual void step(const OpObserver& observer = {}) = 0;

  // Runs the whole step, to the same bits, and says when each op was at work, in the order of the step. Unless a
  // machine says otherwise: op by op, with a look at the host's clock after each.
  virtual std::vector<Span> timed_step();
  // Makes what timed_step would make first, so that a lack of memory is found before a step begins. Throws DeviceError;
  // `step` runs on as before.
  virtual void prepare_timed_step() {}

  // Memory of a buffer's slot, by name; what the step will see or has left there. CHECKs the name.
  virtual void write(const std::string& buffer, std::span<const std::byte> bytes, int64_t slot = 0) = 0;
  virtual void read(const std::string& buffer, std::span<std::byte> bytes, int64_t slot = 0) const = 0;
  // Elements from `first` on of a buffer that is no ring.
  virtual void write_elements(const std::string& buffer, int64_t first, std::span<const std::byte> bytes) = 0;
  virtual void read_elements(const std::string& buffer, int64_t first, std::span<std::byte> bytes) const = 0;

  // Runs the step of another placed program once, alone on this rank and to its end; buffers that it borrows are this
  // machine's.
  virtual void run_once(Program program, const OpTable& ops) = 0;
};

// Elements [first, first + count) of a buffer that is no ring, read when they are needed: while the machine lives and
// does not step.
ByteSource elements_of(const Machine& machine, const std::string& buffer, int64_t first, int64_t count);

}  // namespace centavo
