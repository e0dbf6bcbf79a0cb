// Nothing committed is lost: a run that is killed again and again ends in the bits of one that was left alone.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/rng.h"
#include "tests/support/models.h"
#include "tests/support/process.h"
#include "train/checkpoint_files.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr int64_t kSteps = 40;

// A run of a micro model with a tokenizer, checkpoints and validation of its own; its file lies in `directory`.
std::string run_file(const std::string& directory) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += fmt::format("{} and {} make {}.\n\n<|endoftext|>", i, i + 1, 2 * i + 1);
  write_file_atomic(directory + "/text.txt", text);
  write_file_atomic(directory + "/run.toml",
                    fmt::format("text = \"{}/text.txt\"\nseq_len = 16\nmicro_batch = 2\ngrad_accum_steps = 2\n"
                                "max_steps = {}\nlearning_rate = 1e-3\ncheckpoint_every = 3\nvalidation_every = 5\n"
                                "validation_windows = 2\nsample_tokens = 4\nthreads = 1\n\n[model]\n"
                                "vocab_size = 300\nhidden_size = 16\nintermediate_size = 32\n"
                                "num_hidden_layers = 1\nnum_attention_heads = 2\n",
                                directory, kSteps));
  return directory + "/run.toml";
}

std::string final_state(const std::string& out) {
  return read_file(fmt::format("{}/checkpoints/step-{:08}/state.safetensors", out, kSteps));
}

// -1 when no checkpoint is whole.
int64_t committed_step(const std::string& out) {
  const std::optional<NewestCheckpoint> newest = read_newest_checkpoint(out);
  return newest ? newest->checkpoint.step : -1;
}

// Starts the run, or goes on with it.
Strings arguments(const std::string& file, const std::string& out) {
  if (fs::exists(out + "/config.toml")) return {"resume", out};
  return {"train", file, "out=" + out};
}

// Kills a run at `kills` random moments, the later ones of a second run if the first ends before.
void expect_kills_lose_nothing(int kills) {
  const std::string directory = fresh_directory("kill");
  const std::string file = run_file(directory);
  const auto start = std::chrono::steady_clock::now();
  const Outcome whole = run({"train", file, "out=" + directory + "/whole"});
  const auto whole_time = std::chrono::steady_clock::now() - start;
  ASSERT_EQ(whole.code, 0) << whole.err;
  const std::string expected = final_state(directory + "/whole");

  const RandomStream random{2024, stream_of("kill", 4)};
  int killed = 0;
  uint64_t draws = 0;
  for (int attempt = 0; killed < kills; ++attempt) {
    const std::string out = fmt::format("{}/killed-{}", directory, attempt);
    int64_t committed = -1;
    for (bool done = false; !done;) {
      Process process(arguments(file, out));
      const double share = killed < kills ? random.uniform(draws++) : 2.0;
      std::this_thread::sleep_for(whole_time * share);
      if (!process.ended()) {
        if (killed < kills) {
          process.signal(SIGKILL);
          ++killed;
        }
      }
      const Outcome outcome = process.wait();
      done = outcome.code == 0;
      ASSERT_TRUE(done || outcome.code == -1) << outcome.err;
      const int64_t now = committed_step(out);
      ASSERT_GE(now, committed) << "a committed step is gone";
      committed = now;
    }
    EXPECT_EQ(committed, kSteps);
    EXPECT_EQ(final_state(out), expected) << "after " << killed << " kills";
    fs::remove_all(out);
  }
}

TEST(Kill, TwentyRandomMoments) { expect_kills_lose_nothing(20); }

TEST(LongKill, AHundredRandomMoments) { expect_kills_lose_nothing(100); }

// Ends with code 0 after its step, with everything saved; what follows goes on to the same bits.
TEST(Kill, StopSignalsSaveAndExitWithZero) {
  const std::string directory = fresh_directory("stop");
  const std::string file = run_file(directory);
  ASSERT_EQ(run({"train", file, "out=" + directory + "/whole"}).code, 0);
  for (const int number : {SIGINT, SIGTERM}) {
    const std::string out = fmt::format("{}/stopped-{}", directory, number);
    Process process({"train", file, "out=" + out, "checkpoint_every=0"});
    while (!process.ended() && !fs::exists(out + "/metrics.jsonl")) std::this_thread::yield();
    process.signal(number);
    const Outcome outcome = process.wait();
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.out.find("resume"), std::string::npos) << outcome.out;
    const int64_t step = committed_step(out);
    EXPECT_GE(step, 0);
    if (step == kSteps) continue;  // it was faster than the signal
    const Outcome resumed = run({"resume", out});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(final_state(out), final_state(directory + "/whole"));
  }
}

}  // namespace
}  // namespace centavo::testing
