#include "model/hf/transposed.h"

#include <algorithm>
#include <cstring>

#include "base/errors.h"

namespace centavo {
namespace {

struct Elements {
  int64_t begin = 0;
  int64_t end = 0;
};

// Takes from `bytes`, which hold the matrix's elements `given`, what belongs to the elements `wanted` of its transpose.
void take_elements(std::span<const std::byte> bytes, const Elements& given, const MatrixShape& shape, int64_t size,
                   const Elements& wanted, std::byte* to) {
  const int64_t first_column = wanted.begin / shape.rows;
  const int64_t last_column = (wanted.end - 1) / shape.rows;
  for (int64_t row = given.begin / shape.columns; row * shape.columns < given.end; ++row) {
    const int64_t start = row * shape.columns;
    const int64_t begin = std::max(given.begin, start + first_column);
    const int64_t end = std::min(given.end, start + last_column + 1);
    for (int64_t e = begin; e < end; ++e) {
      const int64_t at = (e - start) * shape.rows + row;
      if (at < wanted.begin || at >= wanted.end) continue;
      std::memcpy(to + (at - wanted.begin) * size, bytes.data() + (e - given.begin) * size, static_cast<size_t>(size));
    }
  }
}

}  // namespace

ByteSource transposed(std::vector<ByteSource> parts, const MatrixShape& shape, DType dtype) {
  const int64_t size = size_of(dtype);
  const auto bytes = static_cast<size_t>(shape.rows * shape.columns * size);
  return {bytes, [parts = std::move(parts), shape, size](size_t first, std::span<std::byte> to) {
            const int64_t begin = static_cast<int64_t>(first) / size;
            const Elements wanted{begin, begin + static_cast<int64_t>(to.size()) / size};
            int64_t at = 0;
            for (const ByteSource& part : parts) {
              part.stream([&](std::span<const std::byte> some) {
                const int64_t count = static_cast<int64_t>(some.size()) / size;
                CHECK(count * size == static_cast<int64_t>(some.size()), "{} bytes of {} each", some.size(), size);
                take_elements(some, {at, at + count}, shape, size, wanted, to.data());
                at += count;
              });
            }
          }};
}

}  // namespace centavo
