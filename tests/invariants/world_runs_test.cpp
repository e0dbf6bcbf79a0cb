// Whole runs of the command on several ranks: what one rank learns, whatever becomes of the ranks.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/rng.h"
#include "tests/support/models.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/sanitized.h"
#include "tests/support/world_job.h"
#include "train/metrics_log.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using namespace std::string_literals;
using Strings = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

constexpr int64_t kSteps = 12;       // of the run file
constexpr double kNamedWithin = 30;  // seconds
constexpr std::array kRows = {"ddp", "zero1", "zero2", "zero3"};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int64_t count(const std::string& text, const std::string& part) {
  int64_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

std::string row(int64_t i) { return fmt::format("shard={}", kRows[static_cast<size_t>(i) % kRows.size()]); }

class WorldRuns : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_start_ranks()) GTEST_SKIP() << "mpirun is not installed; install openmpi-bin";
    directory_ = fresh_directory("world runs");
    file_ = world_run_file(directory_);
  }

  std::string out(const std::string& name) const { return directory_ + "/" + name; }

  // The run that nobody disturbs, on one rank.
  void train_alone(const Strings& overrides = {}) {
    Strings words = {"train", file_, "out=" + out("alone")};
    words.insert(words.end(), overrides.begin(), overrides.end());
    const Outcome outcome = run(words);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    expected_ = saved_state(out("alone"));
    ASSERT_FALSE(expected_.tensors.empty());
  }
  // Every bit, every step once.
  void expect_same_as_alone(const std::string& out_dir, const std::string& where) const {
    EXPECT_TRUE(saved_state(out_dir) == expected_) << where;
    EXPECT_EQ(world_measurements(out_dir), world_measurements(out("alone"))) << where;
  }
  // The same samples; sums may be rounded otherwise.
  void expect_same_losses(const std::string& out_dir, const std::string& where) const {
    const std::vector<double> alone = losses_by_step(out("alone"));
    const std::vector<double> losses = losses_by_step(out_dir);
    ASSERT_EQ(losses.size(), alone.size()) << where;
    for (size_t i = 0; i < losses.size(); ++i) {
      EXPECT_NEAR(losses[i], alone[i], 1e-4 * alone[i]) << where << ", step " << i + 1;
    }
    EXPECT_EQ(saved_state(out_dir).step, expected_.step);
  }

  std::string directory_;
  std::string file_;
  SavedState expected_;
};

Strings on_ranks(Strings words, int64_t ranks) {
  if (ranks > 1) words.insert(words.end(), {"--ranks", std::to_string(ranks)});
  return words;
}

TEST_F(WorldRuns, ResumeOnAnyOtherNumberOfRanks) {
  train_alone();
  const int64_t step = kSanitized ? 3 : 1;
  for (int64_t before = 1; before <= 4; before += step) {
    const std::string half = out(fmt::format("half-{}", before));
    const Outcome saved = run(on_ranks({"train", file_, "out=" + half, "max_steps=6", row(before)}, before));
    ASSERT_EQ(saved.code, 0) << saved.err;
    for (int64_t after = 1; after <= 4; after += step) {
      const std::string where = fmt::format("{} ranks, then {}", before, after);
      const std::string whole = fmt::format("{}-then-{}", half, after);
      fs::copy(half, whole, fs::copy_options::recursive);
      const Strings words = {"resume", whole, fmt::format("max_steps={}", kSteps), row(before + after)};
      const Outcome resumed = run(on_ranks(words, after));
      ASSERT_EQ(resumed.code, 0) << where << ": " << resumed.err;
      if (before == 3 || after == 3) {
        expect_same_losses(whole, where);
      } else {
        EXPECT_TRUE(saved_state(whole) == expected_) << where;
        EXPECT_EQ(losses_by_step(whole), losses_by_step(out("alone"))) << where;
      }
    }
  }
}

// A check of the check: what the test above would have to see.
TEST_F(WorldRuns, LossesTellWhichSamplesWereSeen) {
  train_alone();
  const std::vector<double> losses = losses_by_step(out("alone"));
  ASSERT_EQ(run({"train", file_, "out=" + out("other"), "seed=9", "max_steps=1"}).code, 0);
  EXPECT_GT(std::abs(losses_by_step(out("other"))[0] - losses[0]), 1e-3 * losses[0]);
  for (size_t i = 1; i < losses.size(); ++i) EXPECT_GT(std::abs(losses[i] - losses[i - 1]), 2e-4 * losses[i]);
}

// Kills ranks at random moments, most of them some steps after their start and up to a checkpoint later, the others
// before their first step.
class Assassin {
 public:
  explicit Assassin(const std::string& out, int64_t ranks) : ranks_(ranks), world_(out, ranks) {}

  // False when the run ended before.
  bool strike(Process& parent) {
    const int64_t late = kills_ % 4 == 3 ? 0 : 2 + static_cast<int64_t>(draw() * 12);
    const std::string launch = victim_.identity.launch;
    const auto begun = [&](const RankReport& page) {
      const bool steps = late == 0 || page.step > 0 || has_ended(page);
      return page.identity.launch != launch && page.state != RankState::failed && steps;
    };
    if (!world_.await(parent, begun)) return false;
    const int64_t from = world_.report(0).step;
    const auto due = [&](const RankReport& page) { return late == 0 || page.step >= from + late || has_ended(page); };
    if (!world_.await(parent, due)) return false;
    std::this_thread::sleep_for(std::chrono::duration<double>(late == 0 ? draw() * 0.1 : draw() * 0.03));
    victim_ = world_.report(static_cast<int64_t>(draw() * static_cast<double>(ranks_)));
    if (has_ended(victim_) || ::kill(victim_.pid, SIGKILL) != 0) return false;
    struck_ = Clock::now();
    ++kills_;
    return true;
  }
  // Waits until the parent has said `times` times that it starts again, or ended.
  void await_restart(Process& parent, int64_t times) {
    while (!parent.ended() && count(parent.errors(), "; starting again ") < times) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    told();
  }
  void told() { slowest_s_ = std::max(slowest_s_, seconds_since(struck_)); }

  const RankReport& victim() const { return victim_; }
  const RanksOf& world() const { return world_; }
  int kills() const { return kills_; }
  double slowest_s() const { return slowest_s_; }

 private:
  static bool has_ended(const RankReport& page) {
    return page.state == RankState::finished || page.state == RankState::failed;
  }
  double draw() { return random_.uniform(numbers_++); }

  int64_t ranks_;
  RanksOf world_;
  RandomStream random_{2024, stream_of("assassin", 8)};
  uint64_t numbers_ = 0;
  RankReport victim_;
  Clock::time_point struck_;
  int kills_ = 0;
  double slowest_s_ = 0;
};

// Rank, host and what it did last.
std::string death_of(const RankReport& victim) {
  return fmt::format(
      "centavo: rank {} on host {} \\(pid {}\\) died \\(signal 9\\) (before its first step|at step [0-9]+( in %[0-9]+ "
      "[^;]+| while it saved)?)",
      victim.identity.rank, victim.identity.host, victim.pid);
}

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  const size_t begin = text.rfind('\n', end);
  return text.substr(begin == text.npos ? 0 : begin + 1);
}

void tell(const Assassin& assassin) {
  fmt::print("{} kills, each named within {:.1f} s\n", assassin.kills(), assassin.slowest_s());
  EXPECT_LT(assassin.slowest_s(), kNamedWithin);
  EXPECT_FALSE(assassin.world().somebody_left());
}

class Kills : public WorldRuns {
 protected:
  static constexpr int64_t kRanks = 4;

  // As many steps as that number of kills does not outlive.
  void prepare(int kills) {
    length_ = fmt::format("max_steps={}", 9 * kills + 30);
    train_alone({length_, "validation_every=0"});
  }
  Strings words(const std::string& name, int64_t ranks) const {
    if (fs::exists(out(name) + "/config.toml")) return on_ranks({"resume", out(name)}, ranks);
    return on_ranks({"train", file_, "out=" + out(name), length_, "validation_every=0", "shard=zero3"}, ranks);
  }

  // By the parent, within one command.
  void expect_restarts_lose_nothing(int kills) {
    prepare(kills);
    Strings command = words("killed", kRanks);
    command.insert(command.end(), {"--max-restarts", "1000"});
    Assassin assassin(out("killed"), kRanks);
    Process parent(command);
    while (assassin.kills() < kills && assassin.strike(parent)) {
      assassin.await_restart(parent, assassin.kills());
      ASSERT_FALSE(parent.ended()) << parent.wait().err;
      EXPECT_THAT(last_line(parent.errors()), MatchesRegex(death_of(assassin.victim()) + "; starting again .*\n"));
    }
    const Outcome outcome = parent.wait();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(assassin.kills(), kills) << "the run is too short";
    EXPECT_EQ(count(outcome.err, "\n"), assassin.kills()) << outcome.err;
    expect_same_as_alone(out("killed"), "after the kills");
    tell(assassin);
  }
  // By hand, a command a life.
  void expect_resumes_lose_nothing(int kills) {
    prepare(kills);
    Assassin assassin(out("killed"), kRanks);
    int code = 4;
    for (int64_t committed = -1; code == 4;) {
      Process parent(words("killed", kRanks));
      const bool struck = assassin.kills() < kills && assassin.strike(parent);
      const Outcome outcome = parent.wait();
      code = outcome.code;
      if (struck) assassin.told();
      const int64_t step = saved_state(out("killed")).step;  // throws unless the last one is whole
      ASSERT_GE(step, committed) << "a committed step is gone";
      committed = step;
      if (!struck) continue;
      ASSERT_EQ(code, 4) << outcome.err;
      EXPECT_THAT(outcome.err, MatchesRegex(death_of(assassin.victim()) + hint(step) + "\n"));
    }
    EXPECT_EQ(code, 0);
    EXPECT_EQ(assassin.kills(), kills) << "the run is too short";
    expect_same_as_alone(out("killed"), "after the kills");
    tell(assassin);
  }

 private:
  static std::string hint(int64_t step) {
    if (step < 0) return "; there is no checkpoint yet";
    return fmt::format("; the last checkpoint is step {}: centavo resume .* --ranks {}", step, kRanks);
  }

  std::string length_;
};

using WorldRunsKills = Kills;
using LongWorldRuns = Kills;

constexpr int kSomeKills = kSanitized ? 2 : 8;
TEST_F(WorldRunsKills, RestartsLoseNothing) { expect_restarts_lose_nothing(kSomeKills); }
TEST_F(WorldRunsKills, ResumesLoseNothing) { expect_resumes_lose_nothing(kSomeKills); }
TEST_F(LongWorldRuns, RestartsLoseNothing) { expect_restarts_lose_nothing(50); }
TEST_F(LongWorldRuns, ResumesLoseNothing) { expect_resumes_lose_nothing(50); }

TEST_F(WorldRuns, FewerRanksGoOnToTheSameBits) {
  const std::string length = "max_steps=60";
  train_alone({length});
  Assassin assassin(out("killed"), 2);
  Process parent({"train", file_, "out=" + out("killed"), length, "shard=zero2", "--ranks", "2", "--max-restarts", "1",
                  "--min-ranks", "1"});
  ASSERT_TRUE(assassin.strike(parent));
  const Outcome outcome = parent.wait();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, MatchesRegex(death_of(assassin.victim()) + "; starting again .* with --ranks 1 "
                                                                      "\\(restart 1 of 1\\)\n"));
  expect_same_as_alone(out("killed"), "2 ranks, then 1");
  EXPECT_FALSE(assassin.world().somebody_left());
}

// Another run's checkpoints are not gone on from, whatever the number of ranks.
TEST_F(WorldRuns, AFreshStartRefusesAnotherRun) {
  train_alone();
  const Outcome outcome = run({"train", file_, "out=" + out("alone"), "learning_rate=1e-1", "max_steps=20", "--ranks",
                               "2", "--max-restarts", "2"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("holds the checkpoints of an earlier run"));
  EXPECT_EQ(count(outcome.err, "\n"), 1) << outcome.err;
  EXPECT_TRUE(saved_state(out("alone")) == expected_);
}

// By the parent and by ranks that have none; found out by rank 0 alone, or by every rank.
TEST_F(WorldRuns, ARefusedRunLeavesNothing) {
  write_file_atomic(out("empty.txt"), "");
  const Strings mpirun = {"mpirun", "--oversubscribe", "-n", "3", program_path()};
  for (const std::string& wrong : {"memory=1KiB"s, "model.vocab_size=70"s, "text=" + out("empty.txt"), "ranks"s}) {
    Strings words = {"train", file_, "out=" + out("not/yet")};
    words.push_back(wrong == "ranks" ? "grad_accum_steps=2" : wrong);
    const Outcome local = run(on_ranks(words, 3));
    EXPECT_TRUE(local.code == 2 || local.code == 3) << local.err;
    EXPECT_FALSE(fs::exists(out("not"))) << wrong;
    words.insert(words.begin(), mpirun.begin(), mpirun.end());
    EXPECT_EQ(run(words, {.program = "/usr/bin/env"}).code, local.code) << wrong;
    EXPECT_FALSE(fs::exists(out("not"))) << wrong << ", without a parent";
  }
}

TEST_F(WorldRuns, AStoppedRankIsNamedAsAHang) {
  if (kSanitized) GTEST_SKIP() << "times under sanitizers mean nothing";
  constexpr int64_t kRanks = 3;
  Process parent({"train", file_, "out=" + out("stopped"), "max_steps=1000000", "--ranks", std::to_string(kRanks)});
  RanksOf world(out("stopped"), kRanks);
  ASSERT_TRUE(world.await(parent, [](const RankReport& page) { return page.step >= 10; })) << parent.wait().err;
  const auto seed = static_cast<uint64_t>(Clock::now().time_since_epoch().count());
  const auto victim = static_cast<int64_t>(RandomStream{seed, 0}.uniform(0) * kRanks);
  const RankReport page = world.report(victim);
  const auto start = Clock::now();
  ASSERT_EQ(::kill(page.pid, SIGSTOP), 0);
  const Outcome outcome = parent.wait();
  EXPECT_LT(seconds_since(start), kNamedWithin);
  fmt::print("the hang was named after {:.1f} s\n", seconds_since(start));
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err,
              MatchesRegex(fmt::format(
                  "centavo: rank {} on host {} \\(pid {}\\) hangs: no sign of life for 10 s, it is stopped "
                  "at step [0-9]+( in %[0-9]+ .*| while it saved)?; the last checkpoint is step {}: centavo "
                  "resume .* --ranks 3\n",
                  victim, page.identity.host, page.pid, saved_state(out("stopped")).step)));
  EXPECT_FALSE(world.somebody_left());
}

// 2 nodes of 2 ranks, joined by TCP, against 4 ranks of one host in shared memory.
TEST_F(WorldRuns, TwoHostsComputeTheBitsOfOne) {
  constexpr int kCannot = 77;
  ::setenv("OMP_NUM_THREADS", "1", 1);
  for (const std::string rule : {"zero3", "hybrid", "hybrid-full"}) {
    const Outcome two = run({"2", program_path(), "train", file_, "out=" + out("two-" + rule), "shard=" + rule},
                            {.program = source_path("tests/support/two_hosts.sh")});
    if (two.code == kCannot) GTEST_SKIP() << two.err;
    ASSERT_EQ(two.code, 0) << two.err;
    EXPECT_THAT(two.out, HasSubstr("4 on 2 nodes, shard " + rule));
    const std::string shared = out("one-" + rule);
    const Outcome one = run({"train", file_, "out=" + shared, "shard=" + rule, "--ranks", "4"});
    ASSERT_EQ(one.code, 0) << one.err;
    EXPECT_THAT(one.out, HasSubstr("4 on 1 node, shard " + rule));
    const SavedState state = saved_state(shared);
    EXPECT_EQ(state.step, kSteps);
    EXPECT_TRUE(saved_state(out("two-" + rule)) == state) << rule;
    EXPECT_EQ(losses_by_step(out("two-" + rule)), losses_by_step(shared)) << rule;
  }
}

// Started by hand, each with words of its own.
TEST_F(WorldRuns, WhoDisagreesIsNamedBeforeTheFirstStep) {
  struct Case {
    std::string override;
    std::string what;
  };
  for (const Case& c : {Case{"learning_rate=1e-2", "configuration"},
                        {"seed=9", "configuration"},
                        {"shard=zero3", "configuration"},
                        {"grad_accum_steps=8", "program"}}) {
    const std::string place = out("by-hand-" + c.override);
    const Strings train = {program_path(), "train", file_, "out=" + place};
    Strings words = {"mpirun", "--oversubscribe", "-n", "2"};
    words.insert(words.end(), train.begin(), train.end());
    words.insert(words.end(), {":", "-n", "1"});
    words.insert(words.end(), train.begin(), train.end());
    words.push_back(c.override);
    const auto start = Clock::now();
    const Outcome outcome = run(words, {.program = "/usr/bin/env"});
    EXPECT_LT(seconds_since(start), kNamedWithin);
    EXPECT_EQ(outcome.code, 4) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("rank 2 on host "), HasSubstr(" has another " + c.what + " than rank 0"),
                                   Not(MatchesRegex("(.|\n)*rank 1 on host [^ ]+ has another(.|\n)*"))));
    EXPECT_THAT(outcome.out, Not(HasSubstr("tokens/s")));
    EXPECT_FALSE(fs::exists(metrics_path(place)));
  }
}

}  // namespace
}  // namespace centavo::testing
