// The program itself, as a user runs it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/paths.h"

namespace centavo::testing {

struct Outcome {
  int code = -1;  // -1: killed by a signal
  std::string out;
  std::string err;
};

// What is run and where its standard output goes.
struct Launch {
  enum class Output : uint8_t { file, closed_pipe };  // a pipe that nobody reads any more
  std::string program = program_path();
  Output output = Output::file;
};

// Runs `centavo ARGS…` to its end.
Outcome run(const std::vector<std::string>& args, const Launch& launch = {});

// Runs it in a process of its own.
class Process {
 public:
  explicit Process(const std::vector<std::string>& args, const Launch& launch = {});
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();  // kills what still runs

  void signal(int number) const;
  // Has it ended? Does not wait.
  bool ended();
  // What stands on its standard output so far.
  std::string output() const;
  std::string errors() const;  // likewise of its standard error
  Outcome wait();

 private:
  pid_t child_ = -1;
  int status_ = 0;
  bool reaped_ = false;
  std::FILE* out_;
  std::FILE* err_;
};

}  // namespace centavo::testing
