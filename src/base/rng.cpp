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
typedef uint64_t Word __attribute__((vector_size(kLanes * sizeof(uint64_t))));

inline Word multiply_low_halves(Word a, uint64_t b) {
  const Word factor = Word{} + b;
  return std::bit_cast<Word>(_mm512_maskz_mul_epu32(0xff, std::bit_cast<__m512i>(a), std::bit_cast<__m512i>(factor)));
}

inline void philox_lanes(const RandomStream& stream, uint64_t first, Word* c) {
  using P = PhiloxConstants;
  c[0] = Word{0, 1, 2, 3, 4, 5, 6, 7} + first;
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

// Returns how many of the elements it has drawn.
int64_t draw16_lanes(const RandomStream& stream, uint64_t first, int64_t count, const Draws16& draws) {
  const int64_t even = count / kLanes * kLanes;
  for (int64_t i = 0; i < even; i += kLanes) {
    Word c[4];
    philox_lanes(stream, first + static_cast<uint64_t>(i), c);
#pragma GCC unroll 3
    for (int w = 0; w < 3; ++w) {
      if (draws.word[w] == nullptr) continue;
      const __m128i low = _mm512_maskz_cvtepi64_epi16(0xff, std::bit_cast<__m512i>(c[w]));
      std::memcpy(draws.word[w] + i, &low, sizeof(low));
    }
  }
  return even;
}

#else

int64_t draw16_lanes(const RandomStream&, uint64_t, int64_t, const Draws16&) { return 0; }

#endif

}  // namespace

void draw16(const RandomStream& stream, uint64_t first, int64_t count, const Draws16& draws) {
  for (int64_t i = draw16_lanes(stream, first, count, draws); i < count; ++i) {
    const auto words = philox(stream.key, first + static_cast<uint64_t>(i), stream.stream);
    for (size_t w = 0; w < 3; ++w) {
      if (draws.word[w] != nullptr) draws.word[w][i] = static_cast<uint16_t>(words[w]);
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
