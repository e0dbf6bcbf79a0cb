// The exponential that vectorises: branch-free and inlined, so a loop over floats becomes SIMD code without
// -ffast-math.
//
//   n = round(x / ln 2),  r = x - n ln 2,  exp(x) = 2^n * exp(r),  |r| <= ln(2) / 2
//
// exp(r) is 1 + r + r^2 P(r) with P of degree 5. Error against the exact value: <= 2 ulp over the whole range, the
// subnormal results included. exp(-inf) = 0, exp(+inf) = inf, overflow gives inf, NaN stays NaN; exp(0) = 1.
// The double forms are std::exp, for code that is a template on its accumulator.
//
// Two shorter forms of the same bound: `exp_nonpositive` for x <= 0, and `exp_flushed` for weights of a sum, where x is
// at most 88 and below -85.9 the result is 0.
//
// Source: Moshier, Cephes library, single/expf.c (range reduction and coefficients).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace centavo {

inline double exp_fast(double x) { return std::exp(x); }

// 2^n for n in [-126, 127], by its exponent bits.
inline float power_of_two(int32_t n) { return std::bit_cast<float>((static_cast<uint32_t>(n) + 127u) << 23); }

// condition ? a : b, without a branch. gcc turns ?: on floats into jumps where one side is constant or the product that
// makes it could trap, and then does not vectorise the loop around it.
inline float blend(bool condition, float a, float b) {
  const uint32_t mask = 0u - static_cast<uint32_t>(condition);
  return std::bit_cast<float>((std::bit_cast<uint32_t>(a) & mask) | (std::bit_cast<uint32_t>(b) & ~mask));
}

inline double blend(bool condition, double a, double b) { return condition ? a : b; }

// exp(x) = p 2^(n - lift).
struct ExpParts {
  float p;
  int32_t n;
};

// `lift` is whole. P in pairs, which do not wait for each other.
inline ExpParts exp_parts(float x, float lift = 0.0f) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;  // 9 bits, so n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves a whole number in the low bits
  const float round = kRound + lift;
  const float shifted = x * kLog2E + round;
  const float whole = shifted - round;
  const float r = (x - whole * kLn2High) - whole * kLn2Low;
  const float r2 = r * r;
  const float high = 1.9875691500e-4f * r + 1.3981999507e-3f;
  const float middle = 8.3334519073e-3f * r + 4.1665795894e-2f;
  const float low = 1.6666665459e-1f * r + 5.0000001201e-1f;
  const float p = ((high * r2 + middle) * r2 + low) * r2 + r + 1.0f;
  return {p, static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound))};
}

inline float exp_fast(float x) {
  constexpr float kBound = 105.0f;
  // Beyond the bound the result is 0 or inf; NaN passes.
  x = blend(std::fabs(x) > kBound, std::copysign(kBound, x), x);
  const ExpParts e = exp_parts(x);
  // In two factors: 2^n itself may be subnormal or overflow where the result does not.
  const int32_t half = e.n >> 1;
  return e.p * power_of_two(half) * power_of_two(e.n - half);
}

// 2^(n - 127), when n was lifted by 127 to be an exponent's bits.
inline float power_of_exponent(int32_t n) { return std::bit_cast<float>(static_cast<uint32_t>(n) << 23); }

// For x <= 0. Made 2^64 too large, where the power is never subnormal.
inline double exp_nonpositive(double x) { return std::exp(x); }

inline float exp_nonpositive(float x) {
  constexpr float kBound = -105.0f;
  const ExpParts e = exp_parts(blend(x < kBound, kBound, x), 127.0f + 64.0f);
  return e.p * power_of_exponent(e.n) * 0x1p-64f;
}

// For x <= 88, and 0 below -85.9, where the power stays normal.
inline double exp_flushed(double x) { return std::exp(x); }

inline float exp_flushed(float x) {
  constexpr float kSmallest = -85.9f;
  const ExpParts e = exp_parts(x, 127.0f);
  return blend(x < kSmallest, 0.0f, e.p * power_of_exponent(e.n));
}

}  // namespace centavo
