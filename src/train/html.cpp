#include "train/html.h"

#include "base/utf8.h"

namespace centavo {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

bool is_control(char c) {
  const auto code = static_cast<unsigned char>(c);
  return (code < 0x20 && c != '\n' && c != '\t') || code == 0x7f;
}

void append_escaped(std::string& text, char c) {
  switch (c) {
    case '&': text += "&amp;"; break;
    case '<': text += "&lt;"; break;
    case '>': text += "&gt;"; break;
    case '"': text += "&quot;"; break;
    case '\'': text += "&#39;"; break;
    default:
      if (is_control(c)) {
        text += kReplacement;
      } else {
        text += c;
      }
  }
}

}  // namespace

std::string html(std::string_view bytes) {
  std::string text;
  for (const char c : to_utf8(bytes)) append_escaped(text, c);
  return text;
}

}  // namespace centavo
