#include "base/seal.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>

#include "base/errors.h"

namespace centavo {
namespace {

constexpr std::string_view kEnd = "\n}\n";

std::string self_field(std::string_view object) {
  return fmt::format(",\n  \"self\": \"{}\"", hex64(XXH3_64bits(object.data(), object.size())));
}

}  // namespace

std::string hex64(uint64_t value) { return fmt::format("{:016x}", value); }

std::optional<uint64_t> parse_hex64(std::string_view text) {
  uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (failure != std::errc() || hex64(value) != text) return std::nullopt;
  return value;
}

std::string seal(std::string_view object) {
  CHECK(object.ends_with(kEnd));
  return std::string(object.substr(0, object.size() - kEnd.size())) + self_field(object) + std::string(kEnd);
}

std::optional<std::string> unseal(std::string_view sealed) {
  const size_t tail = self_field("").size() + kEnd.size();
  if (sealed.size() <= tail) return std::nullopt;
  std::string object = std::string(sealed.substr(0, sealed.size() - tail)) + std::string(kEnd);
  if (seal(object) != sealed) return std::nullopt;
  return object;
}

}  // namespace centavo
