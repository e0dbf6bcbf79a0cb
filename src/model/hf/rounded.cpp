#include "model/hf/rounded.h"

#include <algorithm>
#include <cstring>

#include "base/dtype.h"
#include "base/errors.h"

namespace centavo {
namespace {

constexpr size_t kWide = sizeof(float);
constexpr size_t kNarrow = sizeof(bf16);

// Of the elements in `bytes`, which begin with number `at`, those that `to` (from number `first` on) wants.
void round_elements(std::span<const std::byte> bytes, size_t at, size_t first, std::span<std::byte> to) {
  const size_t begin = std::max(at, first);
  const size_t end = std::min(at + bytes.size() / kWide, first + to.size() / kNarrow);
  for (size_t i = begin; i < end; ++i) {
    float wide = 0;
    std::memcpy(&wide, bytes.data() + (i - at) * kWide, kWide);
    const auto narrow = convert<bf16>(wide);
    std::memcpy(to.data() + (i - first) * kNarrow, &narrow, kNarrow);
  }
}

}  // namespace

ByteSource rounded_to_bf16(std::vector<ByteSource> parts) {
  size_t bytes = 0;
  for (const ByteSource& part : parts) bytes += part.size();
  CHECK(bytes % kWide == 0, "{} bytes of f32", bytes);
  return {bytes / kWide * kNarrow, [parts = std::move(parts)](size_t first, std::span<std::byte> to) {
            size_t at = 0;
            for (const ByteSource& part : parts) {
              part.stream([&](std::span<const std::byte> some) {
                round_elements(some, at, first / kNarrow, to);
                at += some.size() / kWide;
              });
            }
          }};
}

}  // namespace centavo
