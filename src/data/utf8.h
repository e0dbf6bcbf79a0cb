// Where characters begin in UTF-8.
#pragma once

#include <cstddef>
#include <string_view>

namespace centavo {

// The first byte that is not part of a valid character (RFC 3629: no overlong forms, no surrogates, nothing above
// U+10FFFF); text.size() when all are.
size_t invalid_utf8(std::string_view text);

// The start of the character that byte `at` belongs to, looking back three bytes at most.
size_t character_start(std::string_view text, size_t at);

}  // namespace centavo
