// The classes of characters that GPT-2's pattern tells apart: \p{L}, \p{N}, \s and the rest.
//
// unicode_classes.cpp is written by make_unicode_classes.py from the `tokenizers` library and says of which Unicode.
#pragma once

#include <cstdint>

namespace centavo {

enum class CharClass : uint8_t { letter, number, space, other };

// `other` for surrogates and for what lies beyond U+10FFFF.
CharClass class_of(char32_t code_point);

}  // namespace centavo
