// Ranks under their parent (cli/launch.h): who dies, hangs or fails is named, nobody is left behind, and the job starts
// again as often as it may. The ranks are tests/launched_ranks/, which do all but train.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/host.h"
#include "base/process_stat.h"
#include "base/rng.h"
#include "tests/support/models.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/sanitized.h"
#include "train/rank_status.h"

namespace centavo::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;
using Strings = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

constexpr int64_t kRanks = 3;

int64_t count(const std::string& text, const std::string& part) {
  int64_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The options of one parent.
struct Setting {
  int64_t ranks = kRanks;
  int64_t restarts = 0;
  int64_t min_ranks = 0;
  double beat_limit_s = 10;
};

class Launched : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("PATH");
    if (find_program("mpirun", path == nullptr ? "" : path).empty()) {
      GTEST_SKIP() << "mpirun is not installed; install openmpi-bin";
    }
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // Open MPI keeps what it has to its end
    out_ = fresh_directory(std::string("launch-") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
  }
  // Pages of an earlier job in the same place would be taken for those of the next.
  void move_on() {
    expect_nobody_left();
    out_ = fresh_directory(out_.substr(out_.rfind('/') + 1));
  }
  void TearDown() override { expect_nobody_left(); }

  Strings words(const Setting& setting, const Strings& deed) const {
    Strings all = {"parent",
                   out_,
                   std::to_string(setting.ranks),
                   std::to_string(setting.restarts),
                   std::to_string(setting.min_ranks),
                   std::to_string(setting.beat_limit_s)};
    all.insert(all.end(), deed.begin(), deed.end());
    return all;
  }
  Outcome run_parent(const Setting& setting, const Strings& deed) const {
    return run(words(setting, deed), {.program = launched_ranks_path()});
  }

  RankReport report(int64_t rank) const { return read_rank_status(out_, rank).value_or(RankReport{}); }

  // Until every rank has told of `step`.
  void await_step(Process& parent, int64_t step) {
    for (int64_t rank = 0; rank < kRanks; ++rank) {
      while (!parent.ended() && report(rank).step < step) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_FALSE(parent.ended()) << parent.wait().err;
    for (int64_t rank = 0; rank < kRanks; ++rank) pages_.push_back(report(rank));
  }

  bool somebody_left() const {
    for (const RankReport& page : pages_) {
      if (still_runs(page.pid, page.start_ticks)) return true;
    }
    return false;
  }
  void expect_nobody_left() const {
    EXPECT_FALSE(somebody_left());
    for (int64_t rank = 0; rank < kRanks; ++rank) {
      const RankReport page = report(rank);
      EXPECT_FALSE(page.pid > 0 && still_runs(page.pid, page.start_ticks)) << "rank " << rank;
    }
  }
  void await_nobody(double most_s) const {
    const auto start = Clock::now();
    while (somebody_left() && seconds_since(start) < most_s) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  // The process that started the ranks: mpirun.
  pid_t parent_of_ranks() const;

  std::string out_;
  std::vector<RankReport> pages_;  // of processes that must not outlive the test
};

TEST_F(Launched, EndWellTogether) {
  const Outcome outcome = run_parent({}, {"steps", "8"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(count(outcome.out, " of 3 begins\n"), kRanks);
  for (int64_t rank = 0; rank < kRanks; ++rank) EXPECT_EQ(report(rank).state, RankState::finished);
}

TEST_F(Launched, ADeathIsNamedWithinFiveSeconds) {
  const auto seed = static_cast<uint64_t>(Clock::now().time_since_epoch().count());
  const auto victim = static_cast<int64_t>(RandomStream{seed, stream_of("victim", 6)}.uniform(0) * kRanks);
  Process parent(words({}, {"stop"}), {.program = launched_ranks_path()});
  await_step(parent, 5);
  const auto start = Clock::now();
  const RankReport page = report(victim);
  ASSERT_EQ(::kill(page.pid, SIGKILL), 0);
  const Outcome outcome = parent.wait();
  EXPECT_LT(seconds_since(start), 5);
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, MatchesRegex(fmt::format(
                               "centavo: rank {} on host {} \\(pid {}\\) died \\(signal 9\\) at step [0-9]+ in %12 "
                               "reduce_scatter layers.{}.grad; the last checkpoint is step 2: centavo resume .* "
                               "--ranks 3\n",
                               victim, page.identity.host, page.pid, victim)));
}

// With the default limit of ten seconds.
TEST_F(Launched, AStoppedRankIsAHangWithinThirtySeconds) {
  if (kSanitized) GTEST_SKIP() << "times under sanitizers mean nothing";
  Process parent(words({}, {"stop"}), {.program = launched_ranks_path()});
  await_step(parent, 5);
  const auto start = Clock::now();
  ASSERT_EQ(::kill(report(1).pid, SIGSTOP), 0);
  const Outcome outcome = parent.wait();
  EXPECT_LT(seconds_since(start), 30);
  EXPECT_GT(seconds_since(start), 9);
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, MatchesRegex("centavo: rank 1 on host .* \\(pid [0-9]+\\) hangs: no sign of life for 10 s, "
                                        "it is stopped at step [0-9]+ in %12 reduce_scatter layers.1.grad; the last "
                                        "checkpoint is step 2: centavo resume .* --ranks 3\n"));
}

TEST_F(Launched, StartAgainAfterAHang) {
  Process parent(words({.restarts = 1, .beat_limit_s = 2.5}, {"stop"}), {.program = launched_ranks_path()});
  await_step(parent, 5);
  const pid_t first = report(0).pid;
  ASSERT_EQ(::kill(report(2).pid, SIGSTOP), 0);
  while (!parent.ended() && (report(0).pid == first || report(0).step < 5)) std::this_thread::yield();
  ASSERT_FALSE(parent.ended()) << parent.wait().err;
  await_step(parent, 5);
  parent.signal(SIGTERM);
  const Outcome outcome = parent.wait();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(count(outcome.out, "goes on\n"), kRanks);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("rank 2 on host "), HasSubstr("starting again from step 2 with --ranks 3 "
                                                                         "(restart 1 of 1)\n")));
}

TEST_F(Launched, AnErrorIsSaidOnceWithItsCode) {
  struct Case {
    Strings deed;
    int code;
    std::string err;
  };
  const std::string hint = "; the last checkpoint is step 2: centavo resume .* --ranks 3\n";
  for (const Case& c :
       {Case{{"throw", "user", "-1"}, 2, "centavo: step 3: the loss is not finite; lower learning_rate\n"},
        Case{{"throw", "memory", "1"},
             3,
             "centavo: rank 1 on host [^ ]+: the plan needs 8 GiB:\n  weights 8 GiB\nuse a smaller model\n"},
        Case{{"throw", "disk", "2"},
             4,
             "centavo: rank 2 on host [^ ]+: write failed for out/x: No space left on device" + hint},
        Case{{"throw", "peer", "1"}, 4, "centavo: rank 1 on host [^ ]+: rank 0 on host a did not answer" + hint},
        Case{{"exit", "1", "7"},
             4,
             "centavo: rank 1 on host [^ ]+ \\(pid [0-9]+\\) died \\(exit code 7\\) at step 3 in .*" + hint}}) {
    const Outcome outcome = run_parent({}, c.deed);
    EXPECT_EQ(outcome.code, c.code) << c.deed[1];
    EXPECT_THAT(outcome.err, MatchesRegex(c.err));
  }
}

TEST_F(Launched, StartAgainOnlyWhenThatMayHelp) {
  const Outcome once = run_parent({.restarts = 3}, {"kill-once", "1"});
  EXPECT_EQ(once.code, 0) << once.err;
  EXPECT_EQ(count(once.err, "\n"), 1) << once.err;
  EXPECT_EQ(count(once.out, "goes on\n"), kRanks);

  for (const auto& [kind, code] : {std::pair{"user", 2}, {"memory", 3}}) {
    const Outcome outcome = run_parent({.restarts = 3}, {"throw", kind, "0"});
    EXPECT_EQ(outcome.code, code);
    EXPECT_THAT(outcome.err, Not(HasSubstr("again")));
    EXPECT_EQ(count(outcome.out, "rank 0 of 3"), 1);
  }
}

TEST_F(Launched, RestartsAreCountedAndRanksGoDownToTheFewest) {
  const Outcome outcome = run_parent({.restarts = 2, .min_ranks = 2}, {"kill", "1"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_EQ(count(outcome.out, "rank 0 of 3 begins"), 1);
  EXPECT_EQ(count(outcome.out, "rank 0 of 2 goes on"), 2);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("starting again from step 2 with --ranks 2 (restart 1 of 2)\n"),
                    HasSubstr("starting again from step 2 with --ranks 2 (restart 2 of 2)\n"),
                    HasSubstr("--max-restarts 2 is used up, and the last 3 tries did not get past step 2\n")));
}

TEST_F(Launched, ASingleRankNeedsNoMpirunToStartAgain) {
  const Outcome outcome = run_parent({.ranks = 1, .restarts = 1}, {"kill", "0"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_EQ(count(outcome.out, "rank 0 of 1"), 2);
  EXPECT_EQ(count(outcome.err, "died (signal 9) at step 3"), 2);
}

TEST_F(Launched, TheFirstSignalStopsWellTheSecondAtOnce) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    ::signal(SIGHUP, SIG_DFL);  // the test itself may run under nohup
    Process parent(words({}, {"stop"}), {.program = launched_ranks_path()});
    await_step(parent, 5);
    parent.signal(number);
    const Outcome outcome = parent.wait();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    EXPECT_THAT(outcome.out, HasSubstr("saved at the end"));
    move_on();
  }
  Process parent(words({}, {"stop"}), {.program = launched_ranks_path()});
  await_step(parent, 5);
  ASSERT_EQ(::kill(report(2).pid, SIGSTOP), 0);  // so that it cannot end well
  parent.signal(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_FALSE(parent.ended());
  parent.signal(SIGINT);
  EXPECT_EQ(parent.wait().code, 128 + SIGINT);
}

TEST_F(Launched, DoNotOutliveTheirParent) {
  for (const bool stopped : {false, true}) {
    Process parent(words({}, {"stop"}), {.program = launched_ranks_path()});
    await_step(parent, 5);
    if (stopped) ::kill(report(1).pid, SIGSTOP);
    parent.signal(SIGKILL);
    parent.wait();
    await_nobody(15);
    EXPECT_FALSE(somebody_left()) << "stopped: " << stopped;
    move_on();
  }
}

TEST_F(Launched, DoNotOutliveMpirun) {
  Process parent(words({}, {"stop"}), {.program = launched_ranks_path()});
  await_step(parent, 5);
  ASSERT_EQ(::kill(parent_of_ranks(), SIGKILL), 0);
  const Outcome outcome = parent.wait();
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err,
              MatchesRegex("centavo: mpirun \\(pid [0-9]+\\) died \\(signal 9\\); the last checkpoint .*"));
}

pid_t Launched::parent_of_ranks() const {
  const std::string stat = read_file(fmt::format("/proc/{}/stat", report(0).pid));
  return static_cast<pid_t>(std::stol(stat.substr(stat.rfind(')') + 4)));  // ") S PPID"
}

TEST_F(Launched, ARunInUseIsRefused) {
  Process parent(words({}, {"stop"}), {.program = launched_ranks_path()});
  await_step(parent, 5);
  const Outcome second = run_parent({}, {"stop"});
  EXPECT_EQ(second.code, 2);
  EXPECT_EQ(count(second.err, "is in use by another centavo"), 1) << second.err;
  EXPECT_EQ(count(second.err, "\n"), 1) << second.err;
  EXPECT_FALSE(parent.ended());
  parent.signal(SIGTERM);
  EXPECT_EQ(parent.wait().code, 0);
}

// A run file that could train.
std::string run_file() {
  const std::string directory = fresh_directory("launch-options");
  write_file_atomic(directory + "/text.txt", "one two three four five six seven eight nine ten.\n");
  write_file_atomic(
      directory + "/run.toml",
      fmt::format("text = \"{}/text.txt\"\ndevice = \"cpu\"\nseq_len = 8\nmicro_batch = 1\nmax_steps = 1\n"
                  "learning_rate = 1e-3\n\n[model]\nvocab_size = 300\nhidden_size = 16\n"
                  "intermediate_size = 32\nnum_hidden_layers = 1\nnum_attention_heads = 2\n",
                  directory));
  return directory + "/run.toml";
}

TEST(RankOptions, WrongNumbersAreRefused) {
  const std::string file = run_file();
  for (const char* number : {"0", "-1", "1000000", "two", "2.5", "", "99999999999999999999"}) {
    const Outcome outcome = run({"train", file, std::string("--ranks=") + number});
    EXPECT_EQ(outcome.code, 2) << number;
    EXPECT_THAT(outcome.err, AllOf(StartsWith("centavo: "), HasSubstr("--ranks"))) << number;
    EXPECT_EQ(count(outcome.err, "\n"), 1) << outcome.err;
  }
  EXPECT_THAT(run({"train", file, "--max-restarts", "1"}).err, HasSubstr("add --ranks N"));
  EXPECT_THAT(run({"train", file, "--ranks", "2", "--min-ranks", "3"}).err, HasSubstr("--min-ranks 3 is more than"));
}

TEST(RankOptions, MissingMpirunIsNamed) {
  const Outcome outcome =
      run({"-i", "PATH=/nowhere", program_path(), "train", run_file(), "--ranks", "2"}, {.program = "/usr/bin/env"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, MatchesRegex("centavo: .*install openmpi-bin and libopenmpi-dev.*\n"));
}

TEST(RankOptions, RanksStartNoRanks) {
  const Outcome outcome =
      run({"OMPI_COMM_WORLD_SIZE=2", program_path(), "train", run_file(), "--ranks", "2"}, {.program = "/usr/bin/env"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("leave --ranks out"));
}

}  // namespace
}  // namespace centavo::testing
