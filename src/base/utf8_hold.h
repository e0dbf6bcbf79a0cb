// Text from bytes that arrive in pieces which may end inside a character, as those of tokens do.
#pragma once

#include <string>
#include <string_view>

namespace centavo {

// What push and finish return, end to end, is to_utf8 (utf8.h) of all bytes pushed; each piece is whole characters.
class Utf8Hold {
 public:
  // Everything that later bytes cannot change; at most 3 bytes are held back.
  std::string push(std::string_view bytes);
  // The rest: what was held back is no character.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace centavo
