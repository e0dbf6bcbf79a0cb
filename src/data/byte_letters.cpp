#include "data/byte_letters.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace centavo {
namespace {

constexpr char32_t kLetters = 0x144;  // one past the last
constexpr int16_t kNoByte = -1;

constexpr bool is_own_letter(size_t byte) { return (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD); }

constexpr std::array<char32_t, 256> kLetterOfByte = [] {
  std::array<char32_t, 256> letters{};
  char32_t next = 0x100;
  for (size_t byte = 0; byte < 256; ++byte) letters[byte] = is_own_letter(byte) ? static_cast<char32_t>(byte) : next++;
  return letters;
}();

constexpr std::array<int16_t, kLetters> kByteOfLetter = [] {
  std::array<int16_t, kLetters> bytes{};
  bytes.fill(kNoByte);
  for (size_t byte = 0; byte < 256; ++byte) bytes[kLetterOfByte[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

}  // namespace

std::string json_letters_of(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    const char32_t letter = kLetterOfByte[static_cast<uint8_t>(byte)];
    if (letter == '"' || letter == '\\') text += '\\';
    if (letter >= 0x80) text += static_cast<char>(0xC0 | letter >> 6);
    text += static_cast<char>(letter >= 0x80 ? 0x80 | (letter & 0x3F) : letter);
  }
  return text;
}

std::optional<std::string> bytes_of_letters(std::string_view letters) {
  std::string bytes;
  for (size_t i = 0; i < letters.size(); ++i) {
    auto letter = static_cast<char32_t>(static_cast<uint8_t>(letters[i]));
    if (letter >= 0x80) {
      const bool two_bytes = letter < 0xE0 && i + 1 < letters.size();
      if (!two_bytes) return std::nullopt;
      letter = (letter & 0x1F) << 6 | (static_cast<uint8_t>(letters[++i]) & 0x3FU);
    }
    if (letter >= kLetters || kByteOfLetter[letter] == kNoByte) return std::nullopt;
    bytes += static_cast<char>(kByteOfLetter[letter]);
  }
  return bytes;
}

}  // namespace centavo
