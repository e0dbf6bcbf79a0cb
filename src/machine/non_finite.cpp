#include "machine/non_finite.h"

#include <cmath>
#include <vector>

#include "machine/cuda/make_cuda_machine.h"

namespace centavo {
namespace {

template <class T>
NonFiniteElements counted(const std::vector<T>& values) {
  NonFiniteElements found;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(static_cast<double>(convert<float>(values[i])))) continue;
    if (found.count++ == 0) found.first = static_cast<int64_t>(i);
  }
  return found;
}

}  // namespace

NonFiniteElements non_finite_elements(const Machine& machine, const Buffer& b) {
  if (!is_float(b.dtype) || b.ring) return {};
  if (const auto found = non_finite_on_gpu(machine, b)) return *found;
  NonFiniteElements found;
  visit_float(b.dtype, [&](auto tag) {
    std::vector<typename decltype(tag)::type> values(static_cast<size_t>(b.elements()));
    machine.read(b.name, std::as_writable_bytes(std::span(values)));
    found = counted(values);
  });
  return found;
}

}  // namespace centavo
