#include "train/units.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <ctime>

namespace centavo {
namespace {

constexpr double kMinute = 60;
constexpr double kHour = 3600;
constexpr double kDay = 86400;
constexpr int64_t kLastYear = 253402300799;  // 9999-12-31

// The exponent of the value as rounded: 999.7 to three digits is 1.00e3.
int decimal_exponent(double value, int digits) {
  if (value == 0) return 0;
  const std::string text = fmt::format("{:.{}e}", std::abs(value), digits - 1);
  return std::atoi(text.c_str() + text.find('e') + 1);
}

constexpr int kMantissaDigits = 2;

std::string mantissa(double value) {
  const std::string text = fmt::format("{:.{}e}", value, kMantissaDigits - 1);
  return text.substr(0, text.find('e'));
}

// Divides by `base` until three digits are left before the point.
std::string scaled(double value, double base, const std::array<const char*, 6>& units) {
  size_t unit = 0;
  for (; std::abs(value) >= 999.5 && unit + 1 < units.size(); ++unit) value /= base;
  return significant(value, 3) + units[unit];
}

std::tm utc_parts(int64_t unix_seconds) {
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm parts = {};
  ::gmtime_r(&time, &parts);
  return parts;
}

}  // namespace

std::string grouped(int64_t value) {
  std::string text = fmt::format("{}", value);
  const size_t sign = value < 0 ? 1 : 0;
  for (size_t at = text.size(); at > sign + 3;) text.insert(at -= 3, ",");
  return text;
}

std::string significant(double value, int digits) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  if (value == 0) return "0";
  const int exponent = decimal_exponent(value, digits);
  if (exponent < -4 || exponent >= 15) {
    return fmt::format("{}e{}", mantissa(value), decimal_exponent(value, kMantissaDigits));
  }
  return fmt::format("{:.{}f}", value, std::max(0, digits - 1 - exponent));
}

std::string short_count(double value) {
  if (std::abs(value) < 1000 && value == std::floor(value)) return fmt::format("{:.0f}", value);
  return scaled(value, 1000, {"", " k", " M", " G", " T", " P"});
}

std::string bytes_text(int64_t bytes) {
  if (std::abs(static_cast<double>(bytes)) < 1000) return fmt::format("{} B", bytes);
  return scaled(static_cast<double>(bytes), 1024, {" B", " KiB", " MiB", " GiB", " TiB", " PiB"});
}

std::string duration_text(double seconds) {
  if (!(std::abs(seconds) < 1e12)) return "?";
  if (seconds < 10) return significant(seconds, 2) + " s";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  const auto parts = [&](double big, double small, const char* format) {
    const auto upper = static_cast<int64_t>(big);
    const auto lower = static_cast<int64_t>(small);
    return fmt::format(fmt::runtime(format), whole / upper, whole % upper / lower);
  };
  const auto rounded = static_cast<double>(whole);
  if (rounded < kMinute) return fmt::format("{} s", whole);
  if (rounded < kHour) return parts(kMinute, 1, "{} min {:02} s");
  if (rounded < kDay) return parts(kHour, kMinute, "{} h {:02} min");
  return parts(kDay, kHour, "{} d {:02} h");
}

std::string money_text(double dollars) {
  if (!(std::abs(dollars) < 1e15)) return fmt::format("${}", significant(dollars, 3));
  if (dollars < 1) return fmt::format("${}", significant(dollars, dollars < 0.1 ? 2 : 3));
  const auto cents = static_cast<int64_t>(std::llround(dollars * 100));
  return fmt::format("${}.{:02}", grouped(cents / 100), cents % 100);
}

std::string date_text(int64_t unix_seconds) {
  if (unix_seconds < 0 || unix_seconds > kLastYear) return "?";
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", utc_parts(unix_seconds));
}

std::string iso_date_text(int64_t unix_seconds) {
  if (unix_seconds < 0 || unix_seconds > kLastYear) return "?";
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", utc_parts(unix_seconds));
}

std::optional<int64_t> parse_bytes(std::string_view text) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"", 1},         {"B", 1},        {"KiB", 0x1p10}, {"MiB", 0x1p20},
                             {"GiB", 0x1p30}, {"TiB", 0x1p40}, {"kB", 1e3},     {"KB", 1e3},
                             {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12}};
  double number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc()) return std::nullopt;
  std::string_view name = text.substr(static_cast<size_t>(end - text.data()));
  while (name.starts_with(' ')) name.remove_prefix(1);
  for (const Unit& unit : kUnits) {
    const double bytes = number * unit.bytes;
    if (name == unit.name && bytes >= 1 && bytes < 0x1p62) return static_cast<int64_t>(bytes);
  }
  return std::nullopt;
}

}  // namespace centavo
