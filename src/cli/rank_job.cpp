#include "cli/rank_job.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/errors.h"
#include "cli/stop_signals.h"

namespace centavo {
namespace {

constexpr int kLookEvery_ms = 50;
// mpirun ends the others when one has died, and then says which one it was.
constexpr double kMpirunEndsItself_s = 3.5;
constexpr double kAfterKill_s = 5;
constexpr double kGiveUp_s = 15;  // the kernel itself holds a process: a dead disk

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string new_mark() {
  return fmt::format("{}-{}", ::getpid(), std::chrono::system_clock::now().time_since_epoch().count());
}

// Only this computer: under Slurm mpirun would otherwise spread over the job's nodes. Its main thread forks: the signal
// that a rank gets when its parent dies is bound to the thread that forked.
std::vector<std::string> mpirun_words(const std::string& mpirun, int64_t ranks) {
  const std::string n = std::to_string(ranks);
  return {
      mpirun, "--host", "localhost:" + n, "--oversubscribe", "--bind-to", "none", "--mca", "odls_base_num_threads", "0",
      "-n",   n};
}

struct Pipe {
  int read = -1;
  int write = -1;
};

Pipe make_pipe() {
  std::array<int, 2> ends = {-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) io_error("pipe2", "the output of ranks");
  return {ends[0], ends[1]};
}

// Of the child, between fork and exec: nothing that allocates. A group of its own, so that a terminal's Ctrl-C comes to
// the parent alone.
[[noreturn]] void become(char** argv, int null, int out, int err, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);  // it died before it could be watched
  ::signal(SIGTTOU, SIG_IGN);               // a background group may write to the terminal
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGXFSZ}) ::signal(number, SIG_DFL);
  ::dup2(null, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  ::execv(argv[0], argv);
  ::_exit(127);
}

void write_all(std::FILE* file, std::string_view bytes) {
  std::fwrite(bytes.data(), 1, bytes.size(), file);
  std::fflush(file);
}

}  // namespace

RankJob::RankJob(const LaunchOptions& options, const std::vector<std::string>& command, int64_t ranks)
    : launch_(new_mark()), watch_(options.out, launch_, ranks, options.limits), looked_s_(now_s()) {
  std::vector<std::string> words;
  if (!options.mpirun.empty()) words = mpirun_words(options.mpirun, ranks);
  words.insert(words.end(), command.begin(), command.end());
  words.insert(words.end(), {kLaunchFlag, launch_});
  if (options.live_progress) words.emplace_back(kLiveFlag);
  start(std::move(words));
}

void RankJob::start(std::vector<std::string> words) {
  // mpirun's libevent warns through epoll of a descriptor that mpirun has closed already when ranks end while they
  // start.
  ::setenv("EVENT_NOEPOLL", "1", 1);
  if (::geteuid() == 0) {  // mpirun refuses root without these; a container has no other user
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  }
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const Pipe out = make_pipe();
  const Pipe err = make_pipe();
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) io_error("open", "/dev/null");
  std::fflush(stdout);
  const pid_t parent = ::getpid();
  child_ = ::fork();
  if (child_ == 0) become(argv.data(), null, out.write, err.write, parent);
  ::close(null);
  ::close(out.write);
  ::close(err.write);
  out_ = out.read;
  err_ = err.read;
  if (child_ < 0) io_error("fork", words.front());
  ::setpgid(child_, child_);  // whoever of the two is first
}

RankJob::~RankJob() {
  if (child_ > 0) end_all();
  if (out_ >= 0) ::close(out_);
  if (err_ >= 0) ::close(err_);
}

void RankJob::run() {
  while (!ended()) {
    pass_on(kLookEvery_ms);
    look();
    heed_signals();
    const bool waited = dead_since_s_ > 0 && now_s() - dead_since_s_ >= kMpirunEndsItself_s;
    if (hung_ || waited || stopped_early_) break;
  }
  watch_.look(0);  // the last words of all
  end_all();
  watch_.look(0);
  while (pass_on(0)) continue;
  write_all(stderr, words_.rest());
}

void RankJob::look() {
  const double now = now_s();
  watch_.look(now - looked_s_);
  looked_s_ = now;
  if (watch_.first_dead() && dead_since_s_ == 0) dead_since_s_ = now;
  if (hung_ || dead_since_s_ > 0) return;
  hung_ = watch_.first_hung();
  if (hung_) hung_rank_ = watch_.ranks()[static_cast<size_t>(*hung_)];
}

// Before every rank has its page nothing is lost by ending at once.
void RankJob::heed_signals() {
  if (const int number = kill_requested()) {
    end_all();
    std::fflush(stdout);
    ::_exit(128 + number);
  }
  if (!stop_requested() || stop_sent_) return;
  stop_sent_ = true;
  stopped_early_ = !watch_.all_have_pages();
  if (!stopped_early_) watch_.signal(SIGTERM);
}

bool RankJob::ended() {
  if (!reaped_) reaped_ = ::waitpid(child_, &status_, WNOHANG) == child_;
  return reaped_;
}

// First the ranks: mpirun then cleans up behind itself and ends. Whoever does not is killed.
void RankJob::end_all() {
  watch_.signal(SIGKILL);
  if (!ended() && !watch_.any_has_page()) ::kill(child_, SIGTERM);
  const double start = now_s();
  bool killed = false;
  while ((!ended() || watch_.any_runs()) && now_s() - start < kGiveUp_s) {
    pass_on(kLookEvery_ms / 5);
    watch_.look(0);
    watch_.signal(SIGKILL);  // also who has come meanwhile
    if (!killed && !ended() && now_s() - start >= kAfterKill_s) killed = ::kill(-child_, SIGKILL) == 0;
  }
}

// False when nothing came.
bool RankJob::pass_on(int timeout_ms) {
  std::array<pollfd, 2> fds = {pollfd{out_, POLLIN, 0}, pollfd{err_, POLLIN, 0}};  // -1: not looked at
  if (::poll(fds.data(), fds.size(), timeout_ms) <= 0) return false;
  if (fds[0].revents != 0) pass_on(out_, false);
  if (fds[1].revents != 0) pass_on(err_, true);
  return true;
}

void RankJob::pass_on(int& fd, bool is_error) {
  std::array<char, 16384> piece;
  const ssize_t got = ::read(fd, piece.data(), piece.size());
  if (got < 0 && errno == EINTR) return;
  if (got <= 0) {
    ::close(fd);
    fd = -1;
    return;
  }
  const std::string_view bytes(piece.data(), static_cast<size_t>(got));
  if (is_error) {
    write_all(stderr, words_.take(bytes));
  } else {
    write_all(stdout, bytes);
  }
}

}  // namespace centavo
