// Text that is safe on a terminal, whatever wrote it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace centavo {

// `one_line` also writes out line ends and tabs.
enum class Layout : uint8_t { kept, one_line };

// Control characters are written out, byte by byte, as \x1b: C0 (below U+0020) and U+007F, of which `kept` lets line
// ends and tabs stand, and C1 (U+0080 to U+009F, in UTF-8 c2 80 to c2 9f), which some terminals obey as well. The rest,
// well-formed or not, is as it was.
std::string printable(std::string_view text, Layout layout = Layout::kept);

}  // namespace centavo
