#include "train/rank_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/errors.h"
#include "base/files.h"
#include "base/process_stat.h"
#include "tests/support/models.h"

namespace centavo::testing {
namespace {

using namespace std::chrono_literals;

const RankIdentity kIdentity{2, 4, "host-a", "mark"};

TEST(RankStatus, SaysWhatItWasTold) {
  const std::string out = fresh_directory("status") + "/out";
  EXPECT_FALSE(read_rank_status(out, 2).has_value());
  RankStatus status(out, kIdentity);
  RankReport report = read_rank_status(out, 2).value();
  EXPECT_EQ(report.identity.rank, 2);
  EXPECT_EQ(report.identity.ranks, 4);
  EXPECT_EQ(report.identity.host, "host-a");
  EXPECT_EQ(report.identity.launch, "mark");
  EXPECT_EQ(report.pid, ::getpid());
  EXPECT_TRUE(still_runs(report.pid, report.start_ticks));
  EXPECT_EQ(report.state, RankState::starting);
  status.state(RankState::training);
  status.at(41);
  status.op("%12 reduce_scatter layers.0.grad");
  report = read_rank_status(out, 2).value();
  EXPECT_EQ(report.state, RankState::training);
  EXPECT_EQ(report.step, 41);
  EXPECT_EQ(report.op, "%12 reduce_scatter layers.0.grad");
  status.op_at(std::string(1000, 'x'), 42);
  status.failed({4, true, std::string(5000, 'y')});
  report = read_rank_status(out, 2).value();
  EXPECT_EQ(report.step, 42);
  EXPECT_EQ(report.op, std::string(200, 'x'));
  EXPECT_EQ(report.state, RankState::failed);
  EXPECT_EQ(report.failure.exit_code, 4);
  EXPECT_TRUE(report.failure.by_peer);
  EXPECT_EQ(report.failure.text, std::string(2000, 'y'));
  EXPECT_FALSE(report.torn);
}

TEST(RankStatus, TellsNobodyWithoutAPage) {
  RankStatus status;
  status.op_at("%1 all_gather", 2);
  status.state(RankState::saving);
  status.failed({4, false, "x"});
}

TEST(RankStatus, BeatsOnceASecond) {
  const std::string out = fresh_directory("beats");
  const RankStatus status(out, kIdentity);
  const RankReport first = read_rank_status(out, 2).value();
  std::this_thread::sleep_for(2300ms);
  const RankReport later = read_rank_status(out, 2).value();
  EXPECT_GE(later.beats, first.beats + 1);
  EXPECT_LE(later.beats, first.beats + 3);
  EXPECT_NEAR(later.beat_monotonic_s - first.beat_monotonic_s, 2, 1.1);
  EXPECT_NEAR(later.beat_wall_s - first.beat_wall_s, 2, 1.1);
  EXPECT_TRUE(thread_stat(later.pid, later.beat_thread).has_value());
}

// Step and op change together; a reader never sees those of different moments.
TEST(RankStatus, IsNeverReadHalfWritten) {
  const std::string out = fresh_directory("torn");
  RankStatus status(out, kIdentity);
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int64_t i = 0; !done; ++i) status.op_at(std::string(1 + i % 200, static_cast<char>('a' + i % 26)), i);
  });
  int64_t changes = 0;
  int64_t last = -1;
  const auto end = std::chrono::steady_clock::now() + 20s;  // on few cores the two take turns, seldom
  while (changes <= 100 && std::chrono::steady_clock::now() < end) {
    const RankReport report = read_rank_status(out, 2).value();
    if (report.torn || report.op.empty()) continue;
    const int64_t n = report.step;
    EXPECT_EQ(report.op, std::string(1 + n % 200, static_cast<char>('a' + n % 26)));
    changes += n != last ? 1 : 0;
    last = n;
  }
  done = true;
  writer.join();
  EXPECT_GT(changes, 100);
}

TEST(RankStatus, SurvivesKillAndIsLockedWhileItsRankLives) {
  const std::string out = fresh_directory("killed");
  const pid_t child = ::fork();
  if (child == 0) {
    RankStatus status(out, kIdentity);
    status.op_at("%7 all_gather embed", 9);
    status.state(RankState::training);
    for (;;) ::pause();
  }
  while (read_rank_status(out, 2).value_or(RankReport{}).state != RankState::training) std::this_thread::yield();
  EXPECT_THROW(RankStatus(out, kIdentity), UserError);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const RankReport report = read_rank_status(out, 2).value();
  EXPECT_EQ(report.pid, child);
  EXPECT_EQ(report.op, "%7 all_gather embed");
  EXPECT_EQ(report.step, 9);
  EXPECT_EQ(report.state, RankState::training);
  EXPECT_FALSE(still_runs(report.pid, report.start_ticks));
  const RankStatus next(out, kIdentity);
  EXPECT_EQ(read_rank_status(out, 2)->op, "");
}

TEST(RankStatus, AFileThatIsNoPageIsNone) {
  const std::string out = fresh_directory("no-page");
  make_directories(out + "/ranks");
  for (const size_t size : {0, 100, 4096, 10000}) {
    write_file_atomic(rank_status_path(out, 0), std::string(size, '\1'));
    EXPECT_FALSE(read_rank_status(out, 0).has_value()) << size;
  }
}

// Told of every op of a step, so it must be cheap: a microsecond is three orders above what it takes.
TEST(RankStatus, AnOpCostsNextToNothing) {
  const std::string out = fresh_directory("cost");
  RankStatus status(out, kIdentity);
  constexpr int kOps = 200'000;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kOps; ++i) status.op("%12 reduce_scatter layers.0.grad");
  EXPECT_LT((std::chrono::steady_clock::now() - start) / kOps, 1us);
}

}  // namespace
}  // namespace centavo::testing
