#include "data/pretokenize.h"

#include <algorithm>

namespace centavo {
namespace {

constexpr Character kLoneByte = {CharClass::other, 1};
constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

// The bytes that a character with this first byte has; 0 when none begins so.
int length_of(uint8_t lead) {
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  return lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
}

// The least code point that needs so many bytes; below it the encoding is overlong.
constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};

bool is_scalar(char32_t code_point, int length) {
  return code_point >= kLeast[static_cast<size_t>(length)] && code_point <= 0x10FFFF &&
         (code_point < 0xD800 || code_point >= 0xE000);
}

}  // namespace

Character wide_character(const char* at, const char* end) {
  const auto lead = static_cast<uint8_t>(*at);
  const int length = length_of(lead);
  if (length == 0 || end - at < length) return kLoneByte;
  char32_t code_point = lead & (0xFFU >> (length + 1));
  for (int i = 1; i < length; ++i) {
    const auto byte = static_cast<uint8_t>(at[i]);
    if ((byte & 0xC0) != 0x80) return kLoneByte;
    code_point = code_point << 6 | (byte & 0x3F);
  }
  if (!is_scalar(code_point, length)) return kLoneByte;
  return {class_of(code_point), static_cast<uint8_t>(length)};
}

const char* contraction_end(const char* at, const char* end) {
  const std::string_view rest(at, static_cast<size_t>(end - at));
  const auto* found = std::find_if(kContractions.begin(), kContractions.end(),
                                   [&](std::string_view contraction) { return rest.starts_with(contraction); });
  return found == kContractions.end() ? at : at + found->size();
}

const char* space_piece_end(const char* at, const char* end) {
  const char* last = at;
  const char* stop = at;
  while (stop != end) {
    const Character next = character_at(stop, end);
    if (next.kind != CharClass::space) return last == at ? stop : last;
    last = stop;
    stop += next.bytes;
  }
  return stop;
}

}  // namespace centavo
