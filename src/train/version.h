// Which centavo this is. kCommit is set by the build from git; "unknown" outside a clone.
#pragma once

namespace centavo {

inline constexpr const char* kVersion = "0.1";
extern const char* const kCommit;

}  // namespace centavo
