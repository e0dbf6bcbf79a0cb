// Programs written in a test.
#pragma once

#include <fmt/format.h>

#include <string>

#include "program/text.h"

namespace centavo::testing {

// Sections and step of a program with buffers a to e of four floats.
inline Program program_by_hand(const std::string& sections) {
  std::string text = "centavo 1\n";
  for (const char name : {'a', 'b', 'c', 'd', 'e'}) text += fmt::format("buffer {} f32[4] activation\n", name);
  return parse(text + sections);
}

}  // namespace centavo::testing
