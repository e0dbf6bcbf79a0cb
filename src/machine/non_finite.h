// Infinities and NaN in a machine's memory, counted where the memory is.
#pragma once

#include <cstdint>

#include "machine/machine.h"

namespace centavo {

struct NonFiniteElements {
  int64_t count = 0;
  int64_t first = -1;  // the lowest index; -1: there is none
};

// Of a buffer of floating-point numbers that is no ring; of any other: none. Waits for what the machine has enqueued.
NonFiniteElements non_finite_elements(const Machine& machine, const Buffer& buffer);

}  // namespace centavo
