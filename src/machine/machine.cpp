#include "machine/machine.h"

namespace centavo {

ByteSource elements_of(const Machine& machine, const std::string& buffer, int64_t first, int64_t count) {
  const int64_t size = size_of(machine.program().buffer(machine.program().find(buffer)).dtype);
  return {static_cast<size_t>(count * size), [&machine, buffer, first, size](size_t at, std::span<std::byte> to) {
            machine.read_elements(buffer, first + static_cast<int64_t>(at) / size, to);
          }};
}

}  // namespace centavo
