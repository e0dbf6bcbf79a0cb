// Numbers as people read them, in English: three significant digits, units, separators. For pages and terminals, not
// for files that programs read, where nothing else is said.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace centavo {

// "1,234,567"
std::string grouped(int64_t value);

// Shortest decimal text with so many significant digits, trailing zeros kept: (1.5, 3) "1.50", (123.4, 3) "123",
// (0.00123, 3) "0.00123"; "3.2e-7" below 1e-4 and from 1e15; "NaN", "∞", "−∞".
std::string significant(double value, int digits);

// With k, M, G, T: "950", "1.23 k", "12.3 M".
std::string short_count(double value);

// "512 B", "1.50 KiB", "12.3 MiB".
std::string bytes_text(int64_t bytes);

// "512MiB", "1.5 GiB", "2GB", a number alone is bytes; nothing for another text or less than a byte.
std::optional<int64_t> parse_bytes(std::string_view text);

// "0.42 s", "42 s", "3 min 12 s", "2 h 05 min", "3 d 04 h".
std::string duration_text(double seconds);

// "$0.00042", "$0.0132", "$1.40", "$1,234.50".
std::string money_text(double dollars);

// "2026-01-31 12:05 UTC"
std::string date_text(int64_t unix_seconds);

// ISO 8601, for files that programs read: "2026-01-31T12:05:09Z"
std::string iso_date_text(int64_t unix_seconds);

}  // namespace centavo
