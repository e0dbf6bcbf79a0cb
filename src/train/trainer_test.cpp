#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "machine/comm/threads.h"
#include "tests/support/costs.h"
#include "tests/support/cuda_check.h"
#include "tests/support/models.h"
#include "train/metrics_log.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Start = TrainOptions::Start;

constexpr int kBeforeFirstStep = 0;

// What a run prints.
class Printed {
 public:
  Printed() : file_(std::tmpfile()) {}
  ~Printed() { std::fclose(file_); }
  Printed(const Printed&) = delete;
  Printed& operator=(const Printed&) = delete;

  std::FILE* file() const { return file_; }
  std::string text() const {
    std::string bytes;
    std::rewind(file_);
    for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) bytes += static_cast<char>(c);
    return bytes;
  }

 private:
  std::FILE* file_;
};

// Stops after `last` steps.
std::function<bool()> stop_after(int last) {
  return [asked = 0, last]() mutable { return asked++ == last; };
}

void train(const RunConfig& config, Start start, const std::function<bool()>& stop = stop_after(1000)) {
  Trainer(test_ops(), config, {.start = start, .stop = stop, .command = start == Start::fresh ? "first" : "again"})
      .run();
}

RunConfig measured_run(const std::string& name) {
  return micro_run(fresh_directory(name), {"validation_every=2", "validation_windows=2", "sample_every=4",
                                           "sample_tokens=3", "checkpoint_every=4", "price_per_hour=1"});
}

MetricsFile metrics_of(const RunConfig& config) { return read_metrics(metrics_path(config.out)); }

std::vector<int64_t> validated_steps(const RunConfig& config) {
  std::vector<int64_t> steps;
  for (const ValidationRecord& v : metrics_of(config).validations) steps.push_back(v.step);
  return steps;
}

std::vector<int64_t> sampled_steps(const RunConfig& config) {
  std::vector<int64_t> steps;
  for (const SampleRecord& s : metrics_of(config).samples) steps.push_back(s.step);
  return steps;
}

// Takes the lines that hold `part` out of the log, as if the process had been killed before it wrote them.
void forget(const RunConfig& config, const std::string& part) {
  std::istringstream log(read_file(metrics_path(config.out)));
  std::string kept;
  for (std::string line; std::getline(log, line);) {
    if (line.find(part) == line.npos) kept += line + "\n";
  }
  write_file_atomic(metrics_path(config.out), kept);
}

// Every file below `root` and its bytes.
std::map<std::string, std::string> snapshot(const std::string& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) files[entry.path().string()] = read_file(entry.path().string());
  }
  return files;
}

TEST(Trainer, MeasuresWhatIsDue) {
  const RunConfig config = measured_run("measure");
  train(config, Start::fresh);
  EXPECT_THAT(validated_steps(config), ElementsAre(0, 2, 4, 6, 8));
  EXPECT_THAT(sampled_steps(config), ElementsAre(4, 8));
  const std::vector<ValidationRecord> validations = metrics_of(config).validations;
  EXPECT_EQ(validations[3].windows, 2);
  EXPECT_GT(validations[4].windows, 2);  // at the end the whole split
}

// Killed behind the checkpoint of step 4 or 8, at each place among what is measured there.
TEST(Trainer, AResumeMeasuresWhatAKillHasCutOff) {
  for (const int stop : {4, 8}) {
    for (const std::vector<std::string>& lost :
         {std::vector<std::string>{"validation_loss", "sample"}, {"sample"}, {"none"}}) {
      const RunConfig config = measured_run("cut");
      train(config, Start::fresh, stop_after(stop));
      for (const std::string& what : lost) forget(config, fmt::format("\"step\":{},\"{}\"", stop, what));
      train(config, Start::resume);
      EXPECT_THAT(validated_steps(config), ElementsAre(0, 2, 4, 6, 8)) << stop << lost[0];
      EXPECT_THAT(sampled_steps(config), ElementsAre(4, 8)) << stop << lost[0];
    }
  }
}

TEST(Trainer, AFinishedRunIsLeftAsItIs) {
  const RunConfig config = measured_run("finished");
  train(config, Start::fresh);
  const auto before = snapshot(config.out);
  EXPECT_THAT(before.at(config.out + "/run.json"), HasSubstr("\"first\""));
  fs::remove_all(config.out + "/model");
  fs::remove(config.out + "/report.html");
  train(config, Start::resume);
  EXPECT_EQ(snapshot(config.out), before);
}

// Each op is looked at, and no step is compared with its prediction.
TEST(Trainer, ARunInDebugModeGivesTheSameBits) {
  const std::vector<std::string> keys = {"max_steps=6", "validation_every=2", "checkpoint_every=3"};
  const RunConfig plain = micro_run(fresh_directory("plain"), keys);
  const RunConfig debug = micro_run(fresh_directory("debug"), keys);
  train(plain, Start::fresh);
  TrainOptions options;
  options.debug = true;
  const Printed printed;
  const CostSource costs = costs_by_bytes();
  options.log = printed.file();
  options.costs = &costs;
  Trainer(test_ops(), debug, options).run();
  EXPECT_THAT(printed.text(), AllOf(HasSubstr("\npredicted "), Not(HasSubstr("\nmeasured"))));
  const auto model = [](const RunConfig& c) { return read_file(c.out + "/model/model.safetensors"); };
  EXPECT_EQ(model(debug), model(plain));
}

void expect_the_op_named(const std::string& device) {
  const RunConfig config = micro_run(fresh_directory("debug"), {"max_steps=3", "validation_every=0", device});
  TrainOptions options;
  options.debug = true;
  Trainer trainer(test_ops(), config, options);
  const Program& program = trainer.machine().program();
  const Buffer& weight = program.buffer(program.find("layers.1.down.weight"));
  std::vector<float> values(static_cast<size_t>(weight.elements()));
  trainer.machine().read(weight.name, std::as_writable_bytes(std::span(values)));
  values[7] = std::numeric_limits<float>::infinity();
  trainer.machine().write(weight.name, std::as_bytes(std::span<const float>(values)));
  try {
    trainer.train_step();
    FAIL() << "nothing was noticed";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("step 0, layer 1: section only: %"), HasSubstr(" = linear(layers.1.swiglu, "),
                      HasSubstr("wrote 72 values that are not finite to layers.1.down, the first at [0]; ")));
  }
}

TEST(Trainer, ARunInDebugModeEndsAtTheFirstOpThatIsNotFinite) { expect_the_op_named("device=cpu"); }

TEST(TrainerCuda, ARunInDebugModeEndsAtTheFirstOpThatIsNotFinite) {
  NEEDS_GPU();
  expect_the_op_named("device=cuda");
}

// Or, without NVML, that it is not known.
TEST(TrainerCuda, SaysWhatTheGpuTook) {
  NEEDS_GPU();
  const RunConfig config = micro_run(fresh_directory("gpu"), {"max_steps=3", "validation_every=0", "device=cuda"});
  const Printed printed;
  TrainOptions options;
  options.log = printed.file();
  Trainer(test_ops(), config, options).run();
  EXPECT_THAT(printed.text(), HasSubstr("\nattention  own kernel: elements f32\n"));
  EXPECT_THAT(printed.text(), HasSubstr("\nproducts   linear_dx_swiglu_grad apart; linear_swiglu apart\n"));
  EXPECT_THAT(printed.text(), HasSubstr("\ngpu        "));
  const std::string use = gpu_use_text(total_gpu_use(read_metrics(metrics_path(config.out))));
  EXPECT_THAT(printed.text(), HasSubstr("\ngpu        " + (use.empty() ? "power and clocks are not known" : use)));

  const RunConfig unwatched = micro_run(fresh_directory("gpu"), {"max_steps=3", "validation_every=0", "device=cuda"});
  const Printed without;
  options.log = without.file();
  options.nvml = "libcentavo_has_none.so.9";
  Trainer(test_ops(), unwatched, options).run();
  EXPECT_THAT(without.text(),
              HasSubstr("\ngpu        power and clocks are not known: NVML cannot be opened: libcentavo"));
}

// What `auto` has chosen is on record; a resume may choose anew.
TEST(Trainer, TheRecordNamesTheDevice) {
  RunConfig config = micro_run(fresh_directory("device"), {"device=auto", "max_steps=3", "validation_every=0"});
  const std::string chosen(name_of(choose_device("auto").device));
  train(config, Start::fresh, stop_after(1));
  EXPECT_EQ(parse_run_config(config.out + "/config.toml", {}).device, chosen);
  config.device = "cpu";
  train(config, Start::resume);
  EXPECT_EQ(parse_run_config(config.out + "/config.toml", {}).device, "cpu");
  EXPECT_TRUE(fs::exists(config.out + "/model/model.safetensors"));
}

// The validation on the way saw two windows, the one at the end sees all.
TEST(Trainer, AnEarlierEndIsValidatedAsAnEnd) {
  RunConfig config = measured_run("earlier");
  train(config, Start::fresh, stop_after(4));
  config.max_steps = 4;
  train(config, Start::resume);
  EXPECT_THAT(validated_steps(config), ElementsAre(0, 2, 4, 4));
  EXPECT_GT(metrics_of(config).validations.back().windows, 2);
  EXPECT_THAT(sampled_steps(config), ElementsAre(4));
  EXPECT_EQ(metrics_of(config).facts().max_steps, 4);
}

// Killed before the first checkpoint: what it took and cost is not forgotten, and step 0 is not validated again.
TEST(Trainer, AResumeAtStepZeroGoesOnWithTheLog) {
  RunConfig config = measured_run("zero");
  config.checkpoint_every = 0;
  train(config, Start::fresh, stop_after(3));
  fs::remove_all(config.out + "/checkpoints");
  const double before = wall_seconds(metrics_of(config));
  ASSERT_GT(before, 0);
  train(config, Start::resume_or_fresh, stop_after(kBeforeFirstStep));
  const MetricsFile metrics = metrics_of(config);
  ASSERT_EQ(metrics.starts.size(), 2U);
  EXPECT_EQ(metrics.starts[1].step, 0);
  EXPECT_EQ(metrics.starts[1].seconds_before, before);
  EXPECT_GT(metrics.starts[1].cost_before, 0);
  EXPECT_TRUE(metrics.steps.empty());
  EXPECT_THAT(validated_steps(config), ElementsAre(0));
}

// While it lives, no file can grow beyond 32 KiB, less than a checkpoint's state, and writing more is an error.
class SmallDisk {
 public:
  SmallDisk() {
    before_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &limit_);
    const rlimit small{.rlim_cur = 32 << 10, .rlim_max = limit_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &limit_);
    ::signal(SIGXFSZ, before_);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

 private:
  rlimit limit_{};
  void (*before_)(int) = nullptr;
};

RunConfig saving_run(const std::string& name) {
  return micro_run(fresh_directory(name), {"validation_every=0", "checkpoint_every=2"});
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  return names;
}

TEST(Trainer, ACheckpointThatCannotBeWrittenIsPassedOver) {
  const RunConfig config = saving_run("full");
  const Printed printed;
  std::optional<SmallDisk> disk;
  std::vector<std::string> after_failure;
  const auto stop = [&, asked = 0]() mutable {
    ++asked;  // once before the first step
    if (asked == 4) disk.emplace();
    if (asked == 5) {
      disk.reset();
      after_failure = names_in(config.out + "/checkpoints");
    }
    return false;
  };
  Trainer(test_ops(), config, {.log = printed.file(), .stop = stop}).run();
  EXPECT_THAT(after_failure, ElementsAre("step-00000002"));
  EXPECT_THAT(printed.text(), HasSubstr("warning    step 4 could not be saved: write"));
  EXPECT_THAT(names_in(config.out + "/checkpoints"), ::testing::UnorderedElementsAre("step-00000006", "step-00000008"));
}

TEST(Trainer, ALastCheckpointThatCannotBeWrittenIsAnError) {
  for (const bool stopped : {true, false}) {
    const RunConfig config = saving_run("full");
    std::optional<SmallDisk> disk;
    const auto stop = [&, asked = 0]() mutable {
      ++asked;
      if (asked == 4) disk.emplace();
      return stopped && asked == 6;
    };
    EXPECT_THROW(Trainer(test_ops(), config, {.stop = stop}).run(), IoError);
    disk.reset();
    EXPECT_EQ(read_newest_checkpoint(config.out)->checkpoint.step, 2);
  }
}

TEST(Trainer, SamplesCannotWriteToTheTerminal) {
  const RunConfig config = micro_run(fresh_directory("control"), {"sample_tokens=1",
                                                                  "sample_prompt=a\xc2\x9b"
                                                                  "31m"});
  const Printed printed;
  Trainer(test_ops(), config, {.log = printed.file()}).run();
  EXPECT_THAT(printed.text(), HasSubstr("sample     a\\xc2\\x9b31m"));
}

std::vector<double> losses_of(const RunConfig& config) {
  std::vector<double> losses;
  for (const StepRecord& step : metrics_of(config).steps) losses.push_back(step.loss);
  return losses;
}

TEST(Trainer, PredictsAndComparesAndChangesNoBit) {
  const RunConfig plain = micro_run(fresh_directory("plain"));
  train(plain, Start::fresh);
  const RunConfig config = micro_run(fresh_directory("compared"));
  const CostSource costs = costs_by_bytes();
  const Printed printed;
  const std::string trace = config.out + ".json";
  Trainer(test_ops(), config, {.log = printed.file(), .costs = &costs, .trace = trace, .trace_step = 7}).run();
  EXPECT_EQ(losses_of(config), losses_of(plain));
  const std::string text = printed.text();
  EXPECT_THAT(text, HasSubstr("costs      from the profile of Test Machine"));
  EXPECT_LT(text.find("predicted  "), text.find("measured   op"));
  EXPECT_THAT(text, HasSubstr("trace      step 7 in " + trace));
  EXPECT_GT(parse_json(read_file(trace))["traceEvents"].size(), 50U);
}

TEST(Trainer, SaysWhyItPredictsNothing) {
  const RunConfig config = micro_run(fresh_directory("unpredicted"));
  const Printed printed;
  Trainer(test_ops(), config, {.log = printed.file(), .why_unpredicted = "nothing, not measured"}).run();
  EXPECT_THAT(printed.text(), HasSubstr("predicted  nothing, not measured\n"));
  EXPECT_THAT(printed.text(), Not(HasSubstr("measured   op")));
}

TEST(Trainer, AResumePredictsTheRest) {
  const RunConfig config = micro_run(fresh_directory("rest"));
  train(config, Start::fresh, stop_after(2));
  const CostSource costs = costs_by_bytes();
  const Printed printed;
  Trainer(test_ops(), config, {.start = Start::resume, .log = printed.file(), .costs = &costs}).run();
  EXPECT_THAT(printed.text(), AllOf(HasSubstr("run        6 steps in"), HasSubstr("measured   op")));
}

TEST(Trainer, ATraceThatCannotBeWrittenStopsNothing) {
  const RunConfig config = micro_run(fresh_directory("no trace"));
  const Printed printed;
  Trainer(test_ops(), config, {.log = printed.file(), .trace = config.out + "/none/step.json"}).run();
  EXPECT_THAT(printed.text(), HasSubstr("warning    the trace could not be written: "));
  EXPECT_EQ(losses_of(config).size(), 8U);
}

TEST(Trainer, EveryRankWritesItsTrace) {
  const RunConfig config = micro_run(fresh_directory("traces"), {"grad_accum_steps=2", "threads=1"});
  const std::string trace = config.out + ".d.json";
  ThreadWorld(2).run([&](Communicator& rank) { Trainer(test_ops(), config, {.world = &rank, .trace = trace}).run(); });
  for (int rank = 0; rank < 2; ++rank) {
    const auto json = parse_json(read_file(fmt::format("{}.d.rank-{:05}.json", config.out, rank)));
    EXPECT_EQ(json["traceEvents"].back()["pid"], rank);
  }
}

// A data directory of bytes, 256 tokens, for a model of more.
TEST(Trainer, RowsThatNoTokenReachesAreTold) {
  RunConfig config = micro_run(fresh_directory("rows"));
  corpus_of(config);
  config.data = config.out + "/data";
  config.text.clear();
  config.out += "-2";
  config.model.vocab_size = 300;
  const Printed printed;
  const Trainer warns(test_ops(), config, {.log = printed.file()});
  EXPECT_THAT(printed.text(), HasSubstr("warning    " + config.data +
                                        ": its tokenizer has 256 tokens, so 44 of the "
                                        "model's 300 are never used; set model.vocab_size = 256"));
  config.model.vocab_size = 256;
  config.out += "-3";
  const Printed fitting;
  const Trainer is_silent(test_ops(), config, {.log = fitting.file()});
  EXPECT_THAT(fitting.text(), Not(HasSubstr("warning")));
}

}  // namespace
}  // namespace centavo::testing
