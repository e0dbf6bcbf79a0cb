#include "base/printable.h"

#include <fmt/format.h>

namespace centavo {
namespace {

bool is_control(unsigned char code, Layout layout) {
  if (code == '\n' || code == '\t') return layout == Layout::one_line;
  return code < 0x20 || code == 0x7f;
}

bool begins_c1(std::string_view text) {
  return text.size() >= 2 && text[0] == '\xc2' && static_cast<unsigned char>(text[1]) - 0x80U < 0x20U;
}

std::string written_out(std::string_view bytes) {
  std::string digits;
  for (const char c : bytes) digits += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return digits;
}

}  // namespace

std::string printable(std::string_view text, Layout layout) {
  std::string safe;
  while (!text.empty()) {
    const size_t size = begins_c1(text) ? 2 : 1;
    const bool harmful = size == 2 || is_control(static_cast<unsigned char>(text[0]), layout);
    safe += harmful ? written_out(text.substr(0, size)) : std::string(text.substr(0, size));
    text.remove_prefix(size);
  }
  return safe;
}

}  // namespace centavo
