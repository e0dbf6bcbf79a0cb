#include "base/utf8.h"

namespace centavo {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

unsigned char at(std::string_view bytes, size_t i) { return static_cast<unsigned char>(bytes[i]); }

// From the first byte: how many bytes, and the range of the second; the others are 80 to BF.
struct Form {
  size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
};

Form form_of(unsigned char first) {
  if (first < 0x80) return {1};
  if (first < 0xc2 || first > 0xf4) return {0};
  if (first < 0xe0) return {2};
  if (first == 0xe0) return {3, 0xa0, 0xbf};
  if (first == 0xed) return {3, 0x80, 0x9f};
  if (first < 0xf0) return {3};
  if (first == 0xf0) return {4, 0x90, 0xbf};
  if (first == 0xf4) return {4, 0x80, 0x8f};
  return {4};
}

}  // namespace

size_t utf8_sequence(std::string_view bytes) {
  if (bytes.empty()) return 0;
  const Form form = form_of(at(bytes, 0));
  if (form.length > bytes.size()) return 0;
  if (form.length > 1 && (at(bytes, 1) < form.low || at(bytes, 1) > form.high)) return 0;
  for (size_t i = 2; i < form.length; ++i) {
    if ((at(bytes, i) & 0xc0) != 0x80) return 0;
  }
  return form.length;
}

std::string to_utf8(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const size_t length = utf8_sequence(bytes);
    text += length > 0 ? bytes.substr(0, length) : kReplacement;
    bytes.remove_prefix(length > 0 ? length : 1);
  }
  return text;
}

}  // namespace centavo
