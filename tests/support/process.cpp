#include "tests/support/process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "tests/support/paths.h"

namespace centavo::testing {
namespace {

std::string contents(std::FILE* file) {
  std::string bytes;
  std::rewind(file);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) bytes += static_cast<char>(c);
  return bytes;
}

}  // namespace

// Only what is safe between fork and exec stands in the child's branch.
Process::Process(const std::string& program, const std::vector<std::string>& args)
    : out_(std::tmpfile()), err_(std::tmpfile()) {
  std::vector<std::string> all = {program};
  all.insert(all.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& arg : all) argv.push_back(arg.data());
  argv.push_back(nullptr);
  child_ = ::fork();
  if (child_ != 0) return;
  ::dup2(::fileno(out_), STDOUT_FILENO);
  ::dup2(::fileno(err_), STDERR_FILENO);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

Process::Process(const std::vector<std::string>& args) : Process(program_path(), args) {}

Process::~Process() {
  if (!reaped_) {
    signal(SIGKILL);
    ::waitpid(child_, &status_, 0);
  }
  std::fclose(out_);
  std::fclose(err_);
}

void Process::signal(int number) const { ::kill(child_, number); }

bool Process::ended() {
  if (!reaped_) reaped_ = ::waitpid(child_, &status_, WNOHANG) == child_;
  return reaped_;
}

Outcome Process::wait() {
  if (!reaped_) ::waitpid(child_, &status_, 0);
  reaped_ = true;
  return {WIFEXITED(status_) ? WEXITSTATUS(status_) : -1, contents(out_), contents(err_)};
}

Outcome run(const std::vector<std::string>& args) { return Process(args).wait(); }

}  // namespace centavo::testing
