#include "data/permutation.h"

#include <bit>

#include "base/errors.h"
#include "base/rng.h"

namespace centavo {
namespace {

constexpr uint64_t kRounds = 6;

struct Feistel {
  int half_bits;  // at most 32
  uint64_t key;
  uint64_t stream;

  uint64_t operator()(uint64_t value) const {
    const uint64_t mask = (uint64_t{1} << half_bits) - 1;
    uint64_t left = value >> half_bits;
    uint64_t right = value & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t mixed = left ^ (philox(key, (round << 32) | right, stream)[0] & mask);
      left = right;
      right = mixed;
    }
    return (left << half_bits) | right;
  }
};

}  // namespace

int64_t permuted(int64_t index, int64_t n, uint64_t key, uint64_t stream) {
  CHECK(0 <= index && index < n, "index {} of {}", index, n);
  if (n == 1) return 0;
  const int bits = 64 - std::countl_zero(static_cast<uint64_t>(n - 1));
  const Feistel feistel = {(bits + 1) / 2, key, stream};
  uint64_t image = feistel(static_cast<uint64_t>(index));
  while (image >= static_cast<uint64_t>(n)) image = feistel(image);
  return static_cast<int64_t>(image);
}

}  // namespace centavo
