// A command as a shell reads it back.
#pragma once

#include <string>
#include <vector>

namespace centavo {

// The words end to end, with a space between; what a POSIX shell would not take as it stands is put in single quotes.
std::string shell_words(const std::vector<std::string>& words);

}  // namespace centavo
