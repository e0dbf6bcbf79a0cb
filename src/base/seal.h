// Text of a JSON object that carries its own hash: the last field, "self", is the XXH3-64 of the text without that
// field. It finds accidents, not forgeries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace centavo {

// 16 lower-case hexadecimal digits.
std::string hex64(uint64_t value);
// The number that hex64 spells so; nothing for any other text.
std::optional<uint64_t> parse_hex64(std::string_view text);

// `object` is a non-empty object whose text ends in "\n}\n", as nlohmann's dump(2) + "\n".
std::string seal(std::string_view object);
// The text that was sealed; nothing when it does not match its hash.
std::optional<std::string> unseal(std::string_view sealed);

}  // namespace centavo
