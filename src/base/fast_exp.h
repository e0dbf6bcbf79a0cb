// The exponential that vectorises: branch-free and inlined, so a loop over floats becomes SIMD code without
// -ffast-math.
//
//   n = round(x / ln 2),  r = x - n ln 2,  exp(x) = 2^n * exp(r),  |r| <= ln(2) / 2
//
// exp(r) is 1 + r + r^2 P(r) with P of degree 5. Error against the exact value: <= 2 ulp over the whole range, the
// subnormal results included. exp(-inf) = 0, exp(+inf) = inf, overflow gives inf, NaN stays NaN; exp(0) = 1.
// The double form is std::exp, for code that is a template on its accumulator.
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

inline float exp_fast(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;  // 9 bits, so n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kBound = 105.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves a whole number in the low bits
  // Beyond the bound the result is 0 or inf; NaN passes.
  x = blend(std::fabs(x) > kBound, std::copysign(kBound, x), x);
  const float shifted = x * kLog2E + kRound;
  const float whole = shifted - kRound;
  const float r = (x - whole * kLn2High) - whole * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // In two factors: 2^n itself may be subnormal or overflow where the result does not.
  const int32_t n = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const int32_t half = n >> 1;
  return p * power_of_two(half) * power_of_two(n - half);
}

}  // namespace centavo
