// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78, initial value and final complement all ones): the check of
// TensorBoard's and LevelDB's records. crc32c("123456789") = 0xe3069283. Source: RFC 3720, appendix B.4.
#pragma once

#include <cstdint>
#include <string_view>

namespace centavo {

uint32_t crc32c(std::string_view bytes);

}  // namespace centavo
