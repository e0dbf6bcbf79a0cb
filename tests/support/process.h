// Programs run as a user runs them: centavo itself, and those that start ranks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace centavo::testing {

struct Outcome {
  int code = -1;  // -1: killed by a signal
  std::string out;
  std::string err;
};

// Runs `centavo ARGS…` to its end.
Outcome run(const std::vector<std::string>& args);

// Runs it in a process of its own.
class Process {
 public:
  explicit Process(const std::vector<std::string>& args);
  // Another program, by its full path.
  Process(const std::string& program, const std::vector<std::string>& args);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();  // kills what still runs

  void signal(int number) const;
  // Has it ended? Does not wait.
  bool ended();
  Outcome wait();

 private:
  pid_t child_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  std::FILE* out_;
  std::FILE* err_;
};

}  // namespace centavo::testing
