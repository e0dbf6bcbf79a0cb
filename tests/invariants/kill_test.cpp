// Nothing committed is lost: a run that is killed again and again ends in the bits of one that was left alone.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/rng.h"
#include "tests/support/models.h"
#include "tests/support/process.h"
#include "tests/support/sanitized.h"
#include "train/checkpoint_files.h"
#include "train/metrics_log.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

constexpr int64_t kSteps = 40;
constexpr int64_t kCheckpointEvery = 3;
constexpr int64_t kForEver = 200'000;  // steps

// A run of a micro model with a tokenizer, and behind each checkpoint a validation and a sample; its file lies in
// `directory`. A step's learning rate does not depend on max_steps, so runs of other lengths pass through the same
// bits.
std::string run_file(const std::string& directory) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += fmt::format("{} and {} make {}.\n\n<|endoftext|>", i, i + 1, 2 * i + 1);
  write_file_atomic(directory + "/text.txt", text);
  write_file_atomic(
      directory + "/run.toml",
      fmt::format("text = \"{}/text.txt\"\ndevice = \"cpu\"\nseq_len = 16\nmicro_batch = 2\ngrad_accum_steps = 2\n"
                  "max_steps = {}\nlearning_rate = 1e-3\nschedule = \"constant\"\ncheckpoint_every = {}\n"
                  "validation_every = 3\nvalidation_windows = 2\nsample_every = 3\nsample_tokens = 4\n"
                  "threads = 1\n\n[model]\nvocab_size = 300\nhidden_size = 16\nintermediate_size = 32\n"
                  "num_hidden_layers = 1\nnum_attention_heads = 2\n",
                  directory, kSteps, kCheckpointEvery));
  return directory + "/run.toml";
}

std::string state_at(const std::string& out, int64_t step) {
  return read_file(fmt::format("{}/checkpoints/step-{:08}/state-00000-of-00001.safetensors", out, step));
}

// -1 when no checkpoint is whole.
int64_t committed_step(const std::string& out) {
  const std::optional<NewestCheckpoint> newest = read_newest_checkpoint(out);
  return newest ? newest->checkpoint.step : -1;
}

// What was measured, without clocks: steps with losses, validations, samples.
Strings measurements(const std::string& out) {
  const MetricsFile metrics = read_metrics(metrics_path(out));
  Strings all;
  for (const StepRecord& s : metrics.steps) all.push_back(fmt::format("{} {} {}", s.step, s.loss, s.lr));
  for (const ValidationRecord& v : metrics.validations) {
    all.push_back(fmt::format("{} validation {} {} {}", v.step, v.loss, v.tokens, v.windows));
  }
  for (const SampleRecord& s : metrics.samples) all.push_back(fmt::format("{} sample {}", s.step, s.text));
  return all;
}

// Starts the run, or goes on with it.
Strings arguments(const std::string& file, const std::string& out) {
  if (fs::exists(out + "/config.toml")) return {"resume", out};
  return {"train", file, "out=" + out};
}

// Steps that the process has told of.
int64_t steps_told(const Process& process) {
  const std::string said = process.output();
  int64_t steps = 0;
  for (size_t at = said.find("tokens/s"); at != said.npos; at = said.find("tokens/s", at + 1)) ++steps;
  return steps;
}

void await_steps(Process& process, int64_t steps) {
  while (!process.ended() && steps_told(process) < steps) std::this_thread::yield();
}

// Kills runs at random moments: four in five some steps after training has begun and up to `cycle` later, which is a
// checkpoint with all that is between two; the others up to `start_up` after the process began.
class Killer {
 public:
  using Seconds = std::chrono::duration<double>;
  Killer(Seconds start_up, Seconds cycle) : start_up_(start_up), cycle_(cycle) {}

  void strike(Process& process) {
    if (draws_ % 5 == 0) {
      std::this_thread::sleep_for(start_up_ * draw());
    } else {
      await_steps(process, 1 + static_cast<int64_t>(draw() * 12));
      std::this_thread::sleep_for(cycle_ * draw());
    }
    told_ = steps_told(process);
    process.signal(SIGKILL);
    ++draws_;
  }
  // `killed`: the signal was faster than the end.
  void count(bool killed) {
    kills_ += killed ? 1 : 0;
    in_training_ += killed && told_ > 0 ? 1 : 0;
  }
  int kills() const { return kills_; }
  int in_training() const { return in_training_; }

 private:
  double draw() { return random_.uniform(numbers_++); }

  Seconds start_up_;
  Seconds cycle_;
  RandomStream random_{2024, stream_of("kill", 4)};
  uint64_t numbers_ = 0;
  int draws_ = 0;
  int64_t told_ = 0;
  int kills_ = 0;
  int in_training_ = 0;
};

// Kills a run at `kills` random moments, the later ones of a second run if the first ends before.
void expect_kills_lose_nothing(int kills) {
  const std::string directory = fresh_directory("kill");
  const std::string file = run_file(directory);
  const auto start = std::chrono::steady_clock::now();
  const Outcome whole = run({"train", file, "out=" + directory + "/whole"});
  ASSERT_EQ(whole.code, 0) << whole.err;
  const Killer::Seconds whole_time = std::chrono::steady_clock::now() - start;
  const Killer::Seconds training{read_metrics(metrics_path(directory + "/whole")).steps.back().time};
  Killer killer(whole_time - training, training * kCheckpointEvery / kSteps);
  const std::string expected = state_at(directory + "/whole", kSteps);
  const Strings measured = measurements(directory + "/whole");

  for (int attempt = 0; killer.kills() < kills; ++attempt) {
    const std::string out = fmt::format("{}/killed-{}", directory, attempt);
    int64_t committed = -1;
    for (bool done = false; !done;) {
      Process process(arguments(file, out));
      if (killer.kills() < kills) killer.strike(process);
      const Outcome outcome = process.wait();
      done = outcome.code == 0;
      killer.count(!done);
      ASSERT_TRUE(done || outcome.code == -1) << outcome.err;
      const int64_t now = committed_step(out);
      ASSERT_GE(now, committed) << "a committed step is gone";
      committed = now;
    }
    EXPECT_EQ(committed, kSteps);
    EXPECT_EQ(state_at(out, kSteps), expected) << "after " << killer.kills() << " kills";
    EXPECT_EQ(measurements(out), measured) << "after " << killer.kills() << " kills";
    fs::remove_all(out);
  }
  EXPECT_GE(2 * killer.in_training(), kills);
}

TEST(Kill, RandomMoments) { expect_kills_lose_nothing(kSanitized ? 6 : 20); }

TEST(LongKill, AHundredRandomMoments) { expect_kills_lose_nothing(100); }

// In mid-run the signals end it with code 0 after its step, with everything saved; what follows goes on to the same
// bits. A terminal that closes sends SIGHUP more than once.
TEST(Kill, StopSignalsSaveAndExitWithZero) {
  using Signals = std::vector<int>;
  const std::vector<Signals> all = {{SIGINT}, {SIGTERM}, {SIGHUP}, {SIGHUP, SIGHUP}};
  const std::string directory = fresh_directory("stop");
  const std::string file = run_file(directory);
  ::signal(SIGHUP, SIG_DFL);  // the test itself may run under nohup
  for (const Signals& signals : kSanitized ? std::vector<Signals>{all.back()} : all) {
    const std::string out = fmt::format("{}/stopped-{}-{}", directory, signals[0], signals.size());
    Process process({"train", file, "out=" + out, "checkpoint_every=0", fmt::format("max_steps={}", kForEver)});
    await_steps(process, 3);
    for (const int number : signals) process.signal(number);
    const Outcome outcome = process.wait();
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("go on with: centavo resume"));
    const int64_t step = committed_step(out);
    ASSERT_GE(step, 3);
    ASSERT_LT(step, kForEver);

    const std::string end = fmt::format("max_steps={}", step + 4);
    const Outcome resumed = run({"resume", out, end});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    const std::string whole = out + "-whole";
    ASSERT_EQ(run({"train", file, "out=" + whole, end, "checkpoint_every=0"}).code, 0);
    EXPECT_EQ(state_at(out, step + 4), state_at(whole, step + 4));
  }
}

// nohup: a SIGHUP that is ignored when the run begins stays ignored.
TEST(Kill, AnIgnoredHangupStaysIgnored) {
  const std::string directory = fresh_directory("nohup");
  const std::string file = run_file(directory);
  ::signal(SIGHUP, SIG_IGN);
  Process process({"train", file, "out=" + directory + "/out"});
  ::signal(SIGHUP, SIG_DFL);
  await_steps(process, 1);
  process.signal(SIGHUP);
  const Outcome outcome = process.wait();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(committed_step(directory + "/out"), kSteps);
}

// `centavo train … | head`: the run does not need its reader, and says at the end that it had none.
TEST(Kill, AClosedOutputEndsNoRun) {
  const std::string directory = fresh_directory("closed");
  const std::string file = run_file(directory);
  const std::string out = directory + "/out";
  const Outcome outcome = run({"train", file, "out=" + out}, {.output = Launch::Output::closed_pipe});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_EQ(outcome.err, "centavo: the standard output could not be written; give it room or another place\n");
  EXPECT_EQ(committed_step(out), kSteps);
  EXPECT_TRUE(fs::exists(out + "/model/config.json"));
  EXPECT_TRUE(fs::exists(out + "/report.html"));
}

}  // namespace
}  // namespace centavo::testing
