#include "data/utf8.h"

#include <cstdint>

namespace centavo {
namespace {

bool is_continuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

size_t length_from(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  return lead < 0xF5 ? 4 : 0;
}

// The second byte rules out overlong forms, surrogates and numbers above U+10FFFF.
bool is_second_byte_of(uint8_t lead, uint8_t second) {
  if (lead == 0xE0) return second >= 0xA0;
  if (lead == 0xED) return second < 0xA0;
  if (lead == 0xF0) return second >= 0x90;
  if (lead == 0xF4) return second < 0x90;
  return true;
}

// 0 when no valid character begins there.
size_t character_length(std::string_view text) {
  const uint8_t lead = static_cast<uint8_t>(text[0]);
  const size_t length = length_from(lead);
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(text[i])) return 0;
  }
  return length < 2 || is_second_byte_of(lead, static_cast<uint8_t>(text[1])) ? length : 0;
}

}  // namespace

size_t invalid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = character_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return at;
}

size_t character_start(std::string_view text, size_t at) {
  size_t start = at;
  while (start > 0 && at - start < 3 && is_continuation(text[start])) --start;
  return start;
}

}  // namespace centavo
