#include "base/utf8_hold.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace centavo {
namespace {

constexpr size_t kLongestHeld = 3;

// Some character begins with these bytes and has more. Second bytes stop at other bounds after E0, ED, F0 and F4; one
// of these three is within all of them.
bool is_begun(const std::string& bytes) {
  for (const char* second : {"\x80\x80\x80", "\x90\x80\x80", "\xa0\x80\x80"}) {
    if (utf8_sequence(bytes + second) > bytes.size()) return true;
  }
  return false;
}

// How many bytes at the end are the beginning of a character.
size_t begun_at_end(const std::string& bytes) {
  for (size_t length = std::min(kLongestHeld, bytes.size()); length > 0; --length) {
    if (is_begun(bytes.substr(bytes.size() - length))) return length;
  }
  return 0;
}

}  // namespace

std::string Utf8Hold::push(std::string_view bytes) {
  std::string all = std::exchange(held_, {});
  all += bytes;
  const size_t whole = all.size() - begun_at_end(all);
  held_ = all.substr(whole);
  return to_utf8(std::string_view(all).substr(0, whole));
}

std::string Utf8Hold::finish() { return to_utf8(std::exchange(held_, {})); }

}  // namespace centavo
