#include "base/errors.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace centavo {

void check_failed(const char* expression, const char* file, int line, const std::string& why) {
  fmt::print(stderr, "centavo: internal error: {} is false at {}:{}{}{}\n", expression, file, line,
             why.empty() ? "" : ": ", why);
  std::fflush(stderr);
  std::abort();
}

void io_error(const std::string& call, const std::string& path) {
  throw IoError(fmt::format("{} of {} failed: {}", call, path, std::strerror(errno)));
}

}  // namespace centavo
