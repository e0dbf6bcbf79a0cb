#include "tests/support/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace centavo::testing {
namespace {

// Leaves the place from which the file is written where it is.
std::string contents(std::FILE* file) {
  std::string bytes;
  char piece[4096];
  for (ssize_t got = 0;; bytes.append(piece, static_cast<size_t>(got))) {
    got = ::pread(::fileno(file), piece, sizeof piece, static_cast<off_t>(bytes.size()));
    if (got <= 0) return bytes;
  }
}

// The end to write to of a pipe whose other end is closed.
int write_end_of_closed_pipe() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  ::close(ends[0]);
  return ends[1];
}

}  // namespace

// Only what is safe between fork and exec stands in the child's branch.
Process::Process(const std::vector<std::string>& args, const Launch& launch)
    : out_(std::tmpfile()), err_(std::tmpfile()) {
  std::vector<std::string> all = {launch.program};
  all.insert(all.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& arg : all) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const int pipe = launch.output == Launch::Output::closed_pipe ? write_end_of_closed_pipe() : -1;
  child_ = ::fork();
  if (child_ != 0) {
    if (pipe >= 0) ::close(pipe);
    return;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed leaves nothing running
  ::dup2(pipe >= 0 ? pipe : ::fileno(out_), STDOUT_FILENO);
  ::dup2(::fileno(err_), STDERR_FILENO);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

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

std::string Process::output() const { return contents(out_); }
std::string Process::errors() const { return contents(err_); }

Outcome Process::wait() {
  if (!reaped_) ::waitpid(child_, &status_, 0);
  reaped_ = true;
  return {WIFEXITED(status_) ? WEXITSTATUS(status_) : -1, contents(out_), contents(err_)};
}

Outcome run(const std::vector<std::string>& args, const Launch& launch) { return Process(args, launch).wait(); }

}  // namespace centavo::testing
