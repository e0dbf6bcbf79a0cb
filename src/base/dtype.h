// Element types: their names in program text, their sizes, and the C++ type of each.
//
//   f64, f32, bf16          computed with; bf16 is the upper half of an f32, rounded to nearest even
//   f8e4m3, f8e5m2          storage for products; e4m3 has no infinity and ends at 448, e5m2 ends at 57344
//   i32, i64, u8            tokens and positions, counters, workspace
//
// Source of the 8-bit formats: Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/errors.h"

namespace centavo {

enum class DType : uint8_t { f64, f32, bf16, f8e4m3, f8e5m2, i32, i64, u8 };

int64_t size_of(DType dtype);
std::string_view name_of(DType dtype);
// False when `name` is no element type.
bool parse_dtype(std::string_view name, DType& dtype);
bool is_float(DType dtype);

// Unit roundoff of a float type (half the distance from 1 to the next number).
double unit_roundoff(DType dtype);

struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  // Round to nearest, ties to even; NaN stays NaN.
  constexpr explicit bf16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    bits = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
  }
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

// The larger of the two bf16 neighbours with probability equal to the distance from the smaller:
// E[result] = value. `random` is 16 uniform bits. Infinity and NaN are rounded to nearest.
constexpr bf16 stochastic_round(float value, uint32_t random) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const bool is_finite = (u & 0x7f800000u) != 0x7f800000u;
  bf16 result = bf16(value);
  result.bits = is_finite ? static_cast<uint16_t>((u + (random & 0xffffu)) >> 16) : result.bits;
  return result;
}

// One byte per element; conversion from f32 saturates at the format's largest number, NaN stays NaN.
struct f8e4m3 {
  uint8_t bits = 0;
  static constexpr float kMax = 448.0f;
  f8e4m3() = default;
  explicit f8e4m3(float value);
  explicit operator float() const;
};

struct f8e5m2 {
  uint8_t bits = 0;
  static constexpr float kMax = 57344.0f;
  f8e5m2() = default;
  explicit f8e5m2(float value);
  explicit operator float() const;
};

// What sums over T are carried in, and what statistics of T (rstd, lse, loss) are stored in.
template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

DType accumulator_of(DType dtype);

// Every conversion between element types goes through the accumulator of the source.
template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_arithmetic_v<To> && std::is_arithmetic_v<From>) {
    return static_cast<To>(value);
  } else if constexpr (std::is_arithmetic_v<From>) {
    return To(static_cast<float>(value));
  } else {
    return convert<To>(static_cast<float>(value));
  }
}

template <class T>
struct TypeTag {
  using type = T;
};

// Calls f(TypeTag<T>{}) for the types that ops compute with: f64, f32, bf16.
template <class F>
auto visit_compute(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f64: return f(TypeTag<double>{});
    case DType::f32: return f(TypeTag<float>{});
    case DType::bf16: return f(TypeTag<bf16>{});
    default: break;
  }
  CHECK(false, "{} is not a type to compute with", name_of(dtype));
  return f(TypeTag<float>{});
}

// Calls f(TypeTag<T>{}) for every float type, the 8-bit ones included.
template <class F>
auto visit_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f8e4m3: return f(TypeTag<f8e4m3>{});
    case DType::f8e5m2: return f(TypeTag<f8e5m2>{});
    default: return visit_compute(dtype, f);
  }
}

}  // namespace centavo
