// What this computer calls itself.
#pragma once

#include <string>

namespace centavo {

// Throws IoError when the system does not say.
std::string host_name();

}  // namespace centavo
