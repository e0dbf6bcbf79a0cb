// The letters that stand for bytes in the strings of a tokenizer.json.
//
// A byte that is a printable Latin-1 character is that character; the others are U+0100, U+0101, … in their order.
// Source: Radford et al., 2019, encoder.py (bytes_to_unicode).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace centavo {

// As the inside of a JSON string: quotes and backslashes are escaped.
std::string json_letters_of(std::string_view bytes);

// Of UTF-8 text, unescaped. Nothing when a character stands for no byte.
std::optional<std::string> bytes_of_letters(std::string_view letters);

}  // namespace centavo
