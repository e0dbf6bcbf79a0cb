#include "train/metrics_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/errors.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

RunFacts facts() {
  return {.name = "tiny",
          .version = "0.1",
          .commit = "36bbc65",
          .command = "centavo train tiny.toml text=a",
          .config = "seed = 1\n\n[model]\nhidden_size = 64\n",
          .max_steps = 10,
          .model = {{"parameters", "1,234"}, {"layers", "2"}},
          .data = {"book.txt", 3, 1000, 400, 512, "00ff"},
          .program_hash = "0abc",
          .machine = {"a CPU", 2, int64_t{8} << 30, "Linux 6", {{"oneDNN", "3.1"}, {"fmt", "9.1"}}},
          .threads = 2,
          .peak_flops = 1e11,
          .price_per_hour = 3.6,
          .memory = {{"parameters", 4096, false}, {"activations", 8192, true}},
          .baselines = {{"gzip -9", 2.5}}};
}

class MetricsLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + fmt::format("metrics_log_test.{}", ::getpid());
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  // Steps first to last, a validation after each even one.
  static void log_steps(MetricsLog& log, int64_t first, int64_t last) {
    for (int64_t step = first; step <= last; ++step) {
      log.step(record(step, static_cast<double>(step - first + 1)));
      if (step % 2 == 0) log.validation({step, 3.5, 1.5, 100, 40, static_cast<double>(step - first + 1) + 0.25});
    }
  }
  static StepRecord record(int64_t step, double time) {
    return {.step = step,
            .tokens = step * 64,
            .loss = 4.0 - 0.1 * static_cast<double>(step),
            .lr = 1e-3,
            .grad_norm = 1.25,
            .tok_s = 64,
            .mfu = 0.5,
            .mem = 12288,
            .time = time,
            .cost = {}};
  }

  std::string path() const { return metrics_path(dir_); }
  void append(const std::string& bytes) const { std::ofstream(path(), std::ios::binary | std::ios::app) << bytes; }
  std::string damage() const {
    try {
      read_metrics(path());
    } catch (const UserError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::string dir_;
};

std::vector<int64_t> steps_of(const MetricsFile& metrics) {
  std::vector<int64_t> steps;
  for (const StepRecord& record : metrics.steps) steps.push_back(record.step);
  return steps;
}

TEST(RunFactsJson, RoundTrip) {
  EXPECT_EQ(run_facts_from_json(to_json(facts())), facts());
  RunFacts sparse = facts();
  sparse.peak_flops = sparse.price_per_hour = std::nullopt;
  sparse.memory.clear();
  sparse.baselines.clear();
  EXPECT_EQ(run_facts_from_json(to_json(sparse)), sparse);
  EXPECT_FALSE(to_json(sparse).contains("peak_flops"));
}

TEST_F(MetricsLogTest, WhatTheGpuToldComesBack) {
  const GpuUse use{.seconds = 10,
                   .joules = 6500,
                   .sm_mhz = 1500,
                   .memory_mhz = 3201,
                   .celsius = 61,
                   .slowed = {{"power limit", 2.5}},
                   .slowed_seconds = 2.5};
  MetricsLog log(dir_, facts(), std::nullopt);
  log.gpu({.step = 3, .time = 12, .use = use});
  log.gpu({.step = 4, .time = 13, .use = {.seconds = 1}});
  const MetricsFile read = read_metrics(path());
  ASSERT_EQ(read.gpu.size(), 2U);
  EXPECT_EQ(read.gpu[0].step, 3);
  EXPECT_EQ(read.gpu[0].time, 12);
  EXPECT_EQ(read.gpu[0].use, use);
  EXPECT_EQ(read.gpu[1].use, GpuUse{.seconds = 1});
}

TEST_F(MetricsLogTest, RoundTrip) {
  MetricsLog log(dir_, facts(), std::nullopt);
  log.validation({0, 6.25, 2.75, 100, 40, 0.125});
  log.step({.step = 1,
            .tokens = 64,
            .loss = static_cast<double>(0.1f),
            .lr = 3e-4,
            .grad_norm = 2.5,
            .tok_s = 512,
            .mfu = 0.25,
            .mem = 4096,
            .time = 1800,
            .cost = {}});
  log.sample({1, std::string("a\xff\0\n\"b", 6), "pro\xc3\xa9"});
  const MetricsFile read = read_metrics(path());
  EXPECT_EQ(read.facts(), facts());
  ASSERT_EQ(read.starts.size(), 1u);
  EXPECT_GT(read.starts[0].unix_seconds, 1600000000);
  ASSERT_EQ(read.steps.size(), 1u);
  const StepRecord& step = read.steps[0];
  EXPECT_EQ(step.step, 1);
  EXPECT_EQ(step.tokens, 64);
  EXPECT_EQ(step.loss, 0.1);  // a float's digits
  EXPECT_EQ(step.lr, 3e-4);
  EXPECT_EQ(step.grad_norm, 2.5);
  EXPECT_EQ(step.tok_s, 512);
  EXPECT_EQ(step.mfu, 0.25);
  EXPECT_EQ(step.mem, 4096);
  EXPECT_EQ(step.time, 1800);
  EXPECT_EQ(step.cost, 1.8);
  ASSERT_EQ(read.validations.size(), 1u);
  EXPECT_EQ(read.validations[0].loss, 6.25);
  EXPECT_EQ(read.validations[0].bits_per_byte, 2.75);
  EXPECT_EQ(read.validations[0].bytes, 100);
  EXPECT_EQ(read.validations[0].tokens, 40);
  ASSERT_EQ(read.samples.size(), 1u);
  EXPECT_EQ(read.samples[0].text, std::string("a\xef\xbf\xbd\0\n\"b", 8));
  EXPECT_EQ(read.samples[0].prompt, "pro\xc3\xa9");
}

TEST_F(MetricsLogTest, LinesAreTheDocumentedOnes) {
  RunFacts free = facts();
  free.price_per_hour = std::nullopt;
  MetricsLog log(dir_, free, std::nullopt);
  StepRecord step = record(1, 0.5);
  step.mfu = std::nullopt;
  log.step(step);
  EXPECT_THAT(read_file(path()),
              ::testing::EndsWith("{\"step\":1,\"tokens\":64,\"loss\":3.9,\"lr\":0.001,"
                                  "\"grad_norm\":1.25,\"tok_s\":64.0,\"mem\":12288,\"time\":0.5}\n"));
}

TEST_F(MetricsLogTest, NotFiniteValuesAreStrings) {
  MetricsLog log(dir_, facts(), std::nullopt);
  StepRecord step = record(1, 1);
  step.loss = kNan;
  step.grad_norm = kInf;
  step.lr = -kInf;
  log.step(step);
  EXPECT_THAT(read_file(path()), HasSubstr("\"loss\":\"NaN\",\"lr\":\"-Infinity\",\"grad_norm\":\"Infinity\""));
  const MetricsFile read = read_metrics(path());
  EXPECT_TRUE(std::isnan(read.steps.at(0).loss));
  EXPECT_EQ(read.steps.at(0).grad_norm, kInf);
  EXPECT_EQ(read.steps.at(0).lr, -kInf);
}

TEST_F(MetricsLogTest, EveryTornTailIsRead) {
  MetricsLog log(dir_, facts(), std::nullopt);
  log_steps(log, 1, 3);
  const std::string whole = read_file(path());
  const size_t last = whole.rfind("{\"step\":3");
  for (size_t size = last; size < whole.size(); ++size) {
    fs::resize_file(path(), size);
    EXPECT_EQ(steps_of(read_metrics(path())), (std::vector<int64_t>{1, 2})) << size;
  }
}

TEST_F(MetricsLogTest, DamageInTheMiddleNamesTheLine) {
  MetricsLog log(dir_, facts(), std::nullopt);
  append("{\"step\":1,\n{}\n");
  EXPECT_THAT(damage(), HasSubstr(path() + ":3 is damaged"));
  MetricsLog again(dir_, facts(), std::nullopt);
  append("{\"step\":1,\"loss\":2}\n");
  EXPECT_THAT(damage(), HasSubstr(path() + ":3 is damaged"));
  MetricsLog disordered(dir_, facts(), std::nullopt);
  disordered.step(record(2, 1));
  disordered.step(record(1, 2));
  EXPECT_THAT(damage(), HasSubstr(path() + ":4 is damaged: step 1 follows step 2"));
}

TEST_F(MetricsLogTest, FilesOfAnotherKindAreRefused) {
  append("");
  EXPECT_THAT(damage(), HasSubstr(path() + ":1 holds no facts"));
  append("{\"format\":1}\n");
  EXPECT_THAT(damage(), HasSubstr(path() + ":1 is damaged"));
  fs::remove(path());
  append("[\"step\"]\n");
  EXPECT_THAT(damage(), HasSubstr(path() + ":1 is damaged"));
}

TEST_F(MetricsLogTest, UnknownLinesAreSkipped) {
  MetricsLog log(dir_, facts(), std::nullopt);
  append("{\"note\":\"of a later centavo\"}\n");
  log_steps(log, 1, 2);
  EXPECT_EQ(steps_of(read_metrics(path())), (std::vector<int64_t>{1, 2}));
}

TEST_F(MetricsLogTest, ResumingDropsWhatCameAfterTheCheckpoint) {
  {
    MetricsLog log(dir_, facts(), std::nullopt);
    log_steps(log, 1, 7);
    log.sample({7, "gone", ""});
  }
  const std::string before = read_file(path());
  append("{\"step\":8,\"tok");
  RunFacts later = facts();
  later.max_steps = 20;
  MetricsLog log(dir_, later, 4);
  log_steps(log, 5, 6);
  const std::string after = read_file(path());
  const size_t kept = before.find("{\"step\":5");
  EXPECT_EQ(after.substr(0, kept), before.substr(0, kept));
  EXPECT_THAT(after.substr(kept), ::testing::StartsWith("{\"resume\":4,\"unix\":"));
  const MetricsFile read = read_metrics(path());
  EXPECT_EQ(steps_of(read), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(read.validations.size(), 3u);
  EXPECT_TRUE(read.samples.empty());
  ASSERT_EQ(read.starts.size(), 2u);
  EXPECT_EQ(read.starts[0].facts.max_steps, 10);
  EXPECT_EQ(read.facts().max_steps, 20);
  EXPECT_EQ(&start_of(read, 4), &read.starts[0]);
  EXPECT_EQ(&start_of(read, 5), &read.starts[1]);
}

TEST_F(MetricsLogTest, DiscardedStepsStillCost) {
  {
    MetricsLog log(dir_, facts(), std::nullopt);
    log_steps(log, 1, 7);
  }
  MetricsLog log(dir_, facts(), 4);
  log_steps(log, 5, 6);
  const MetricsFile read = read_metrics(path());
  EXPECT_EQ(read.starts[1].seconds_before, 7);
  EXPECT_EQ(wall_seconds(read), 9.25);  // with the validation after step 6
  EXPECT_NEAR(total_cost(read).value(), 9.25e-3, 1e-9);
  EXPECT_NEAR(read.steps.back().cost.value(), 9e-3, 1e-9);
}

TEST_F(MetricsLogTest, DiscardedStepsStillTookEnergy) {
  {
    MetricsLog log(dir_, facts(), std::nullopt);
    log.gpu({.step = 2, .time = 10, .use = {.seconds = 10, .joules = 1000, .slowed_seconds = 0}});
    log.gpu({.step = 7, .time = 20, .use = {.seconds = 10, .joules = 3000, .slowed_seconds = 5}});
    EXPECT_EQ(log.gpu_use().joules, 4000);
  }
  for (int start = 1; start <= 2; ++start) {
    MetricsLog log(dir_, facts(), 4);
    log.gpu({.step = 5, .time = 1, .use = {.seconds = 1, .joules = 500, .slowed_seconds = 0}});
    const MetricsFile read = read_metrics(path());
    EXPECT_EQ(read.gpu.size(), 2U);
    EXPECT_EQ(total_gpu_use(read).joules, 4000 + 500 * start);
    EXPECT_EQ(total_gpu_use(read).seconds, 20 + start);
    EXPECT_EQ(total_gpu_use(read).slowed_seconds, 5);
    EXPECT_EQ(log.gpu_use(), total_gpu_use(read));
  }
}

TEST_F(MetricsLogTest, ResumingAgainForgetsTheStartsBeyond) {
  {
    MetricsLog log(dir_, facts(), std::nullopt);
    log_steps(log, 1, 8);
  }
  {
    MetricsLog log(dir_, facts(), 6);
    log_steps(log, 7, 8);
  }
  MetricsLog log(dir_, facts(), 4);
  const MetricsFile read = read_metrics(path());
  ASSERT_EQ(read.starts.size(), 2u);
  EXPECT_EQ(read.starts[1].step, 4);
  EXPECT_EQ(read.starts[1].seconds_before, 10.5);
}

TEST_F(MetricsLogTest, ResumingWithoutALogBeginsOne) {
  MetricsLog log(dir_, facts(), 100);
  log.step(record(101, 1));
  const MetricsFile read = read_metrics(path());
  ASSERT_EQ(read.starts.size(), 1u);
  EXPECT_EQ(read.starts[0].step, 100);
}

TEST_F(MetricsLogTest, ResumingBeforeTheFirstStepKeepsTimeAndCost) {
  {
    MetricsLog log(dir_, facts(), std::nullopt);
    log.validation({0, 6.25, 2.75, 100, 40, 0.125, 7});
    log_steps(log, 1, 3);
  }
  MetricsLog log(dir_, facts(), 0);
  const MetricsFile read = read_metrics(path());
  EXPECT_TRUE(read.steps.empty());
  EXPECT_EQ(read.validations.size(), 1u);
  ASSERT_EQ(read.starts.size(), 2u);
  EXPECT_EQ(read.starts[1].seconds_before, 3);
  EXPECT_EQ(wall_seconds(read), 3);
  EXPECT_EQ(measured_at(dir_, 0).validation_windows, 7);
}

// A validation that a start owed to the checkpoint it went on from took time of that start.
TEST_F(MetricsLogTest, TheFirstValidationOfAResumeTakesItsTime) {
  {
    MetricsLog log(dir_, facts(), std::nullopt);
    log_steps(log, 1, 3);
  }
  MetricsLog log(dir_, facts(), 3);
  log.validation({3, 6.25, 2.75, 100, 40, 5, 7});
  EXPECT_EQ(wall_seconds(read_metrics(path())), 8);
}

TEST_F(MetricsLogTest, TellsWhatWasMeasuredAtAStep) {
  EXPECT_EQ(measured_at(dir_, 0).max_steps, 0);
  MetricsLog log(dir_, facts(), std::nullopt);
  log.validation({2, 3.5, 1.5, 100, 40, 1, 4});
  log.sample({2, "text", ""});
  log.validation({2, 3.5, 1.5, 100, 40, 1, 9});
  log.validation({4, 3.5, 1.5, 100, 40, 1, 30});
  EXPECT_EQ(measured_at(dir_, 2).validation_windows, 9);
  EXPECT_TRUE(measured_at(dir_, 2).sampled);
  EXPECT_EQ(measured_at(dir_, 2).max_steps, 10);
  EXPECT_EQ(measured_at(dir_, 3).validation_windows, 0);
  EXPECT_FALSE(measured_at(dir_, 4).sampled);
}

TEST_F(MetricsLogTest, ResumingOnADamagedLogIsRefused) {
  MetricsLog log(dir_, facts(), std::nullopt);
  append("?\n");
  log.step(record(1, 1));
  const std::string before = read_file(path());
  EXPECT_THROW(MetricsLog(dir_, facts(), 1), UserError);
  EXPECT_EQ(read_file(path()), before);
}

}  // namespace
}  // namespace centavo
