// Counts infinities and NaN in device memory.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "machine/non_finite.h"

struct CUstream_st;

namespace centavo {

// Of f32 or bf16 elements at an address aligned to their size. Allocates, runs behind what `stream` holds, and waits.
NonFiniteElements count_non_finite(const void* elements, DType dtype, int64_t count, CUstream_st* stream);

}  // namespace centavo
