// The transpose of a matrix whose bytes wait to be written.
#pragma once

#include <vector>

#include "base/byte_source.h"
#include "base/dtype.h"

namespace centavo {

struct MatrixShape {
  int64_t rows = 0;
  int64_t columns = 0;
};

// The bytes of [columns, rows] from those of [rows, columns], which lie in `parts` end to end. The matrix is never
// held: each piece of the result (at most ByteSource::kPiece) goes through all parts once and takes what belongs to it.
ByteSource transposed(std::vector<ByteSource> parts, const MatrixShape& shape, DType dtype);

}  // namespace centavo
