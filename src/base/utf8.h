// Bytes of unknown origin as text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace centavo {

// The length of the well-formed UTF-8 sequence that `bytes` begins with (Unicode 15, table 3-7: no overlong forms, no
// surrogates, nothing above U+10FFFF); 0 if there is none.
size_t utf8_sequence(std::string_view bytes);

// `bytes` with every byte that belongs to no well-formed sequence replaced by U+FFFD.
std::string to_utf8(std::string_view bytes);

}  // namespace centavo
