// A tensor rounded to bf16 as it is written: the parameters of norms, which are f32 in a run of bf16 matrices, get the
// dtype that a Hugging Face model has throughout.
#pragma once

#include <vector>

#include "base/byte_source.h"

namespace centavo {

// `parts` hold f32 end to end; each is rounded to the nearest, ties to even.
ByteSource rounded_to_bf16(std::vector<ByteSource> parts);

}  // namespace centavo
