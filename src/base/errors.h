// The six ways centavo fails, and the check that must not.
//
//   UserError    what, where, how to mend, in one sentence; exit 2
//   OutOfMemory  what the plan needs, by region, and how to need less; exit 3
//   IoError      the call, the path and the system's reason; exit 4
//   DeviceError  a GPU that is missing, fails or is full of another process's data; exit 4
//   RankError    another rank does not answer, failed, or does something else: which, where, when; exit 4
//   CHECK        a broken promise inside centavo: aborts, unreachable from user input
//
// Exceptions are caught in cli/, and at the root of a rank that is a thread (machine/comm/threads.cpp).
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace centavo {

struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct OutOfMemory : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct IoError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct RankError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void user_error(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void check_failed(const char* expression, const char* file, int line, const std::string& why);

// An IoError that carries errno's text.
[[noreturn]] void io_error(const std::string& call, const std::string& path);

}  // namespace centavo

#define CHECK(condition, ...)                                                                 \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      ::centavo::check_failed(#condition, __FILE__, __LINE__, ::fmt::format("" __VA_ARGS__)); \
    }                                                                                         \
  } while (false)
