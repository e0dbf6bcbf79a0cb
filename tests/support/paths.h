// Where this checkout and its program lie.
#pragma once

#include <string>

namespace centavo::testing {

std::string source_path(const std::string& file);  // in the checkout
const char* program_path();                        // build/…/centavo

}  // namespace centavo::testing
