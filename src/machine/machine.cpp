#include "machine/machine.h"

#include <chrono>

#include "machine/virtual/virtual_machine.h"

namespace centavo {

std::vector<Span> Machine::timed_step() {
  using Clock = std::chrono::steady_clock;
  std::vector<double> ends;
  ends.reserve(ops_in_step(program()));  // nothing is allocated inside the step
  const Clock::time_point start = Clock::now();
  step([&](int64_t, const Section&, const Op&) {
    ends.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  });
  return spans_from_ends(program(), LaneModel::one_lane, ends);
}

ByteSource elements_of(const Machine& machine, const std::string& buffer, int64_t first, int64_t count) {
  const int64_t size = size_of(machine.program().buffer(machine.program().find(buffer)).dtype);
  return {static_cast<size_t>(count * size), [&machine, buffer, first, size](size_t at, std::span<std::byte> to) {
            machine.read_elements(buffer, first + static_cast<int64_t>(at) / size, to);
          }};
}

}  // namespace centavo
