// JSON as text and as a tree. nlohmann's reader and writer are templates that every file which calls them compiles
// anew; here they are compiled once.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace centavo {

// Throws nlohmann::json::parse_error, which says at which byte.
nlohmann::json parse_json(std::string_view text);
nlohmann::ordered_json parse_ordered_json(std::string_view text);

// On one line, or with `indent` spaces a level. Bytes that are no UTF-8 become U+FFFD.
std::string json_text(const nlohmann::json& value, int indent = -1);
std::string json_text(const nlohmann::ordered_json& value, int indent = -1);

}  // namespace centavo
