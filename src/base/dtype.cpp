#include "base/dtype.h"

#include <algorithm>
#include <array>

namespace centavo {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  int64_t bytes;
  double roundoff;  // 0 for integers
};

constexpr std::array<Row, 8> kRows = {{
    {DType::f64, "f64", 8, 0x1p-53},
    {DType::f32, "f32", 4, 0x1p-24},
    {DType::bf16, "bf16", 2, 0x1p-8},
    {DType::f8e4m3, "f8e4m3", 1, 0x1p-4},
    {DType::f8e5m2, "f8e5m2", 1, 0x1p-3},
    {DType::i32, "i32", 4, 0},
    {DType::i64, "i64", 8, 0},
    {DType::u8, "u8", 1, 0},
}};

const Row& row(DType dtype) { return kRows.at(static_cast<size_t>(dtype)); }

// Rounds a finite magnitude to `mantissa` bits (nearest, ties to even) with subnormals below 2^min_exponent.
float round_to(float magnitude, int mantissa, int min_exponent) {
  if (magnitude == 0) return 0;
  const int exponent = std::max(std::ilogb(magnitude), min_exponent);
  const float step = std::ldexp(1.0f, exponent - mantissa);
  return std::nearbyint(magnitude / step) * step;
}

// Packs an already rounded magnitude. `bias` is the exponent bias.
uint8_t pack(float magnitude, int mantissa, int bias) {
  const int min_exponent = 1 - bias;
  if (magnitude < std::ldexp(1.0f, min_exponent)) {
    return static_cast<uint8_t>(std::ldexp(magnitude, mantissa - min_exponent));
  }
  const int exponent = std::ilogb(magnitude);
  const float fraction = std::ldexp(magnitude, -exponent) - 1.0f;
  return static_cast<uint8_t>(((exponent + bias) << mantissa) | static_cast<int>(std::ldexp(fraction, mantissa)));
}

float unpack(uint8_t magnitude, int mantissa, int bias) {
  const int exponent = magnitude >> mantissa;
  const int fraction = magnitude & ((1 << mantissa) - 1);
  if (exponent == 0) return std::ldexp(static_cast<float>(fraction), 1 - bias - mantissa);
  return std::ldexp(static_cast<float>(fraction + (1 << mantissa)), exponent - bias - mantissa);
}

}  // namespace

int64_t size_of(DType dtype) { return row(dtype).bytes; }
std::string_view name_of(DType dtype) { return row(dtype).name; }
bool is_float(DType dtype) { return row(dtype).roundoff > 0; }
double unit_roundoff(DType dtype) { return row(dtype).roundoff; }

bool parse_dtype(std::string_view name, DType& dtype) {
  for (const Row& r : kRows) {
    if (r.name == name) {
      dtype = r.dtype;
      return true;
    }
  }
  return false;
}

DType accumulator_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

f8e4m3::f8e4m3(float value) {
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value)) {
    bits = sign | 0x7f;
    return;
  }
  const float magnitude = round_to(std::min(std::fabs(value), kMax), 3, -6);
  bits = sign | pack(magnitude, 3, 7);
}

f8e4m3::operator float() const {
  const uint8_t magnitude = bits & 0x7f;
  if (magnitude == 0x7f) return std::nanf("");
  const float value = unpack(magnitude, 3, 7);
  return (bits & 0x80) != 0 ? -value : value;
}

f8e5m2::f8e5m2(float value) {
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value)) {
    bits = sign | 0x7f;
    return;
  }
  const float magnitude = round_to(std::min(std::fabs(value), kMax), 2, -14);
  bits = sign | pack(magnitude, 2, 15);
}

f8e5m2::operator float() const {
  const uint8_t magnitude = bits & 0x7f;
  if (magnitude > 0x7c) return std::nanf("");
  const float value = magnitude == 0x7c ? INFINITY : unpack(magnitude, 2, 15);
  return (bits & 0x80) != 0 ? -value : value;
}

}  // namespace centavo
