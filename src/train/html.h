// Text of unknown origin inside a page.
#pragma once

#include <string>
#include <string_view>

namespace centavo {

// `bytes` as HTML text or attribute value: & < > " ' become references, what is not UTF-8 and control characters
// other than tab and line end become U+FFFD.
std::string html(std::string_view bytes);

}  // namespace centavo
