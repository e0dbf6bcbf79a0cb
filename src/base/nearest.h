// The nearest known name, for messages that tell the user what was probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace centavo {

// The candidate with the smallest edit distance to `name`; empty when none is close (distance above a third
// of the longer name, at least 2).
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// ", did you mean X?" or nothing.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace centavo
