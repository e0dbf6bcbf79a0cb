#include "base/rng.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>

namespace centavo {
namespace {

#if defined(__AVX512F__)

constexpr int64_t kLanes = 8;

// A word of eight counters: the low halves of 64-bit lanes. What stands in the high halves does not matter, as the
// product of 32 by 32 bits reads the low ones alone.
using Word __attribute__((vector_size(kLanes * sizeof(uint64_t)))) = uint64_t;

inline Word multiply_low_halves(Word a, uint64_t b) {
  const Word factor = Word{} + b;
  return std::bit_cast<Word>(_mm512_maskz_mul_epu32(0xff, std::bit_cast<__m512i>(a), std::bit_cast<__m512i>(factor)));
}

// Of the counters from `counter` on.
inline void philox_lanes(const RandomStream& stream, uint64_t counter, Word* c) {
  using P = PhiloxConstants;
  c[0] = Word{0, 1, 2, 3, 4, 5, 6, 7} + counter;
  c[1] = c[0] >> 32;
  c[2] = Word{} + stream.stream;
  c[3] = c[2] >> 32;
  uint32_t k0 = static_cast<uint32_t>(stream.key);
  uint32_t k1 = static_cast<uint32_t>(stream.key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < P::kRounds; ++round) {
    const Word p0 = multiply_low_halves(c[0], P::kMultiplier0);
    const Word p1 = multiply_low_halves(c[2], P::kMultiplier1);
    c[0] = (p1 >> 32) ^ c[1] ^ uint64_t { k0 };
    c[1] = p1;
    c[2] = (p0 >> 32) ^ c[3] ^ uint64_t { k1 };
    c[3] = p0;
    k0 += P::kWeyl0;
    k1 += P::kWeyl1;
  }
}

// Writes the draws of kLanes groups at a time. Returns how many groups it has drawn.
int64_t draw_groups(const RandomStream& stream, uint64_t counter, int64_t groups, uint16_t* draws) {
  const int64_t even = groups / kLanes * kLanes;
  for (int64_t g = 0; g < even; g += kLanes) {
    Word c[4];
    philox_lanes(stream, counter + static_cast<uint64_t>(g), c);
    const Word low = Word{} + 0xffffffffu;
    const Word first = (c[0] & low) | (c[1] << 32);  // words 0 and 1 of each group
    const Word second = (c[2] & low) | (c[3] << 32);
    const Word in_order[2] = {__builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11),
                              __builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15)};
    static_assert(sizeof(in_order) == kLanes * RandomStream::kGroup * sizeof(uint16_t));
    std::memcpy(draws + g * RandomStream::kGroup, in_order, sizeof(in_order));
  }
  return even;
}

#else

int64_t draw_groups(const RandomStream&, uint64_t, int64_t, uint16_t*) { return 0; }

#endif

}  // namespace

void draw16(const RandomStream& stream, uint64_t operand, uint64_t first, int64_t count, uint16_t* draws) {
  constexpr int kGroup = RandomStream::kGroup;
  int64_t i = 0;
  for (; i < count && (first + static_cast<uint64_t>(i)) % kGroup != 0; ++i) {
    draws[i] = stream.draw16(operand, first + static_cast<uint64_t>(i));
  }
  uint64_t g = (first + static_cast<uint64_t>(i)) / kGroup;
  const int64_t drawn = draw_groups(stream, (operand << 61) | g, (count - i) / kGroup, draws + i);
  i += drawn * kGroup;
  for (g += static_cast<uint64_t>(drawn); i < count; ++g) {
    const auto words = stream.group(operand, g);
    for (size_t j = 0; j < kGroup && i < count; ++j, ++i) {
      draws[i] = static_cast<uint16_t>(words[j / 2] >> (16 * (j % 2)));
    }
  }
}

double RandomStream::uniform(uint64_t element) const {
  const auto r = philox(key, element, stream);
  const uint64_t mantissa = (static_cast<uint64_t>(r[0]) << 21) ^ (r[1] >> 11);  // 53 bits
  return static_cast<double>(mantissa) * 0x1p-53;
}

double RandomStream::normal(uint64_t element) const {
  const auto r = philox(key, element, stream);
  const double u1 = (static_cast<double>(r[0]) + 1.0) * 0x1p-32;  // (0, 1]
  const double u2 = static_cast<double>(r[1]) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2);
}

uint64_t stream_of(const char* text, size_t length) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (size_t i = 0; i < length; ++i) hash = (hash ^ static_cast<uint8_t>(text[i])) * 0x100000001b3u;
  return hash;
}

}  // namespace centavo
