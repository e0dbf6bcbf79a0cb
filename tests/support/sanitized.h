// Is this a build with sanitizers? It finds errors of memory and undefined behaviour, everything takes several times as
// long and more memory, and times mean nothing.
#pragma once

namespace centavo::testing {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace centavo::testing
