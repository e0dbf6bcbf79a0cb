#include "base/process_stat.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

namespace centavo {
namespace {

// A child with a name that is hard to parse; it waits until it is killed.
pid_t start_child() {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, ") Z 1 (");
    for (;;) ::pause();
  }
  return child;
}

TEST(ProcessStat, FollowsAProcessFromStartToEnd) {
  const pid_t child = start_child();
  const auto start = process_stat(child);
  ASSERT_TRUE(start.has_value());
  EXPECT_GE(start->start_ticks, process_stat(::getpid())->start_ticks);
  EXPECT_TRUE(still_runs(child, start->start_ticks));
  EXPECT_FALSE(still_runs(child, start->start_ticks + 1));  // another process of the same id

  ::kill(child, SIGSTOP);
  ::waitpid(child, nullptr, WUNTRACED);
  EXPECT_EQ(process_stat(child)->state, 'T');
  EXPECT_TRUE(still_runs(child, start->start_ticks));

  ::kill(child, SIGKILL);
  siginfo_t info;
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(process_stat(child)->state, 'Z');
  EXPECT_FALSE(still_runs(child, start->start_ticks));

  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(process_stat(child).has_value());
  EXPECT_FALSE(still_runs(child, start->start_ticks));
}

TEST(ProcessStat, KnowsThreads) {
  EXPECT_TRUE(thread_stat(::getpid(), ::getpid()).has_value());
  EXPECT_FALSE(thread_stat(::getpid(), 1).has_value());
}

}  // namespace
}  // namespace centavo
