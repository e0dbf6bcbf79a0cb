// The yardstick of a language model that anyone has at hand: how small `gzip -9` makes a text.
#pragma once

#include <cstdint>
#include <string_view>

namespace centavo {

// Bytes of the gzip file (deflate level 9, header and trailer included). Deterministic for a version of zlib.
int64_t gzip_bytes(std::string_view text);

}  // namespace centavo
