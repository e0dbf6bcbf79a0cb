// One line on the standard error that is written over and over; nothing where that is not a terminal.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

namespace centavo {

class StandingLine {
 public:
  StandingLine() = default;
  ~StandingLine() { clear(); }
  StandingLine(const StandingLine&) = delete;
  StandingLine& operator=(const StandingLine&) = delete;

  bool is_terminal() const { return is_terminal_; }
  void show(const std::string& text) {
    if (!is_terminal_) return;
    std::fputs(("\r" + text + "\033[K").c_str(), stderr);
    std::fflush(stderr);
    shown_ = true;
  }
  void clear() {
    if (shown_) std::fputs("\r\033[K", stderr);
    shown_ = false;
  }

 private:
  bool is_terminal_ = ::isatty(STDERR_FILENO) != 0;
  bool shown_ = false;
};

}  // namespace centavo
