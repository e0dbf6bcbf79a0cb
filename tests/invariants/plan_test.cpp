// `centavo plan`, and what `centavo train` says of time, from outside.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/files.h"
#include "base/json.h"
#include "cli/profile_place.h"
#include "ops/cuda/kernels.h"
#include "tests/support/models.h"
#include "tests/support/process.h"

namespace centavo::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A run file without data, and a cache of its own for the profile.
class Plan : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("XDG_CACHE_HOME", (directory_ + "/cache").c_str(), 1);
    RunConfig config = micro_run(directory_, {"threads=2"});
    text_ = config.text;
    config.text.clear();
    write_file_atomic(file_, print(config));
  }
  void TearDown() override { ::unsetenv("XDG_CACHE_HOME"); }

  std::string profile() const { return directory_ + "/cache/centavo/profile.json"; }
  void put_profile() const {
    make_directories(parent_directory(profile()));
    write_profile(prior_profile(CpuFacts(), 2), profile());
  }
  Outcome plan(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"plan", file_});
    return run(more);
  }

  const std::string directory_ = fresh_directory("plan");
  const std::string file_ = directory_ + "/run.toml";
  std::string text_;
};

json events_of(const std::string& file) { return parse_json(read_file(file)).at("traceEvents"); }

TEST_F(Plan, NeedsNoDataAndNoProfile) {
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"text=" + directory_ + "/nowhere"}}) {
    const Outcome outcome = plan(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("memory "), HasSubstr("PRIOR, not measured"), HasSubstr("centavo bench"),
                                   HasSubstr("predicted  "), HasSubstr("run        8 steps in")));
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/out"));
}

TEST_F(Plan, FindsTheProfileOfThisMachine) {
  put_profile();
  EXPECT_THAT(plan().out, AllOf(HasSubstr("from the profile of"), Not(HasSubstr("PRIOR"))));
  std::filesystem::rename(profile(), directory_ + "/other.json");
  EXPECT_THAT(plan({"--profile", directory_ + "/other.json"}).out, HasSubstr("from the profile of"));
}

// One in a home that several machines share. What is named is what is meant.
TEST_F(Plan, DoubtsTheProfileOfAnotherMachine) {
  CpuFacts cpu = cpu_facts();
  if (cpu.model.empty()) GTEST_SKIP() << "the processor has no name";
  const std::string doubt = "; this is " + cpu.model + ", measure it";
  make_directories(parent_directory(profile()));
  write_profile(prior_profile(cpu, 2), profile());
  EXPECT_THAT(plan().out, Not(HasSubstr("; this is ")));
  cpu.model = "Other Chip";
  write_profile(prior_profile(cpu, 2), profile());
  EXPECT_THAT(plan().out, HasSubstr("from the profile of Other Chip, 2 threads" + doubt));
  EXPECT_THAT(plan({"--profile", profile()}).out, Not(HasSubstr("; this is ")));
}

TEST_F(Plan, JsonSumsUp) {
  const Outcome outcome = plan({"--json", "price_per_hour=3600", "--ranks", "2", "grad_accum_steps=2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json report = parse_json(outcome.out);
  double kinds = 0;
  double shares = 0;
  for (const json& kind : report["predicted"]["kinds"]) {
    kinds += kind["seconds"].get<double>();
    shares += kind["share"].get<double>();
  }
  const double step = report["predicted"]["step_seconds"];
  EXPECT_NEAR(kinds, step, 1e-9 * step);
  EXPECT_NEAR(shares, 1, 1e-9);
  EXPECT_EQ(report["costs"]["source"], "prior");
  EXPECT_TRUE(report["costs"]["instead_of"].is_null());
  EXPECT_EQ(report["step"]["ranks"], 2);
  EXPECT_DOUBLE_EQ(report["run"]["dollars"], report["run"]["seconds"]);
}

// A GPU that does everything at once but launches: an op without a sample takes one and a quarter launches of 2 us.
// `linear_dx_swiglu_grad` has a sample of 1 ms. No GPU need be here.
TEST_F(Plan, OfAGpuFromItsProfile) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  Profile profile;
  profile.device = DeviceKind::cuda;
  profile.machine = "NVIDIA Test";
  profile.architecture = 90;
  profile.multiprocessors = 132;
  profile.copy_bytes_per_second = 1e30;
  profile.product_flops = {{"f32", 1e30}};
  const std::string file = directory_ + "/gpu.json";
  write_profile(profile, file);
  const auto report = [&] {
    const Outcome outcome = plan({"--json", "--profile", file, "device=cuda"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return parse_json(outcome.out);
  };
  const auto calls_of = [](const json& kinds, const std::string& wanted) {
    int64_t calls = 0;
    for (const json& kind : kinds) calls += wanted.empty() || kind["kind"] == wanted ? kind["calls"].get<int64_t>() : 0;
    return calls;
  };
  const json unsampled = report();
  const json& kinds = unsampled["predicted"]["kinds"];
  const auto calls = static_cast<double>(calls_of(kinds, ""));
  EXPECT_EQ(unsampled["costs"]["device"], "cuda");
  EXPECT_EQ(unsampled["costs"]["machine"], "NVIDIA Test");
  EXPECT_NEAR(unsampled["predicted"]["step_seconds"], 2.5e-6 * calls, 1e-9);

  const RunConfig config = parse_run_config(file_, {});
  const int64_t tokens = config.micro_batch * config.seq_len;
  const int64_t wide = config.model.intermediate_size;
  const int64_t hidden = config.model.hidden_size;
  const std::vector<int64_t> sizes = {tokens, hidden, hidden, wide, tokens, 2 * wide, tokens, 2 * wide};
  profile.take({{"linear_dx_swiglu_grad f32 f32 f32 > f32 -", sizes, 1, 1, 1e-3}});
  write_profile(profile, file);
  const auto sampled = static_cast<double>(calls_of(kinds, "linear_dx_swiglu_grad"));
  EXPECT_GT(sampled, 0);
  EXPECT_NEAR(report()["predicted"]["step_seconds"], 2.5e-6 * (calls - sampled) + 1e-3 * sampled, 1e-9);

  const std::string trace = directory_ + "/gpu_step.json";
  EXPECT_EQ(plan({"--profile", file, "--trace", trace, "device=cuda"}).code, 0);
  EXPECT_GT(events_of(trace).size(), static_cast<size_t>(calls));
}

TEST_F(Plan, OfAGpuWithoutAProfileIsAPrior) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  const Outcome outcome = plan({"device=cuda"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("PRIOR, not measured: from what is known of"));
}

TEST_F(Plan, AProfileMustBeOfTheRunsDevice) {
  Profile profile = prior_profile(CudaTraits(), "NVIDIA Test");
  write_profile(profile, directory_ + "/gpu.json");
  const Outcome outcome = plan({"--profile", directory_ + "/gpu.json", "device=cpu"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("is the profile of NVIDIA Test (device cuda) and the run computes on cpu"));
}

TEST_F(Plan, TraceIsThePredictedStep) {
  const std::string trace = directory_ + "/step.json";
  const json report = parse_json(plan({"--json", "--trace", trace}).out);
  double end = 0;
  for (const json& event : events_of(trace)) {
    if (event["ph"] == "X") end = event["ts"].get<double>() + event["dur"].get<double>();
  }
  EXPECT_NEAR(end * 1e-6, report["predicted"]["step_seconds"].get<double>(), 2e-9);
}

TEST_F(Plan, RefusesInOneSentence) {
  write_file_atomic(directory_ + "/bad.json", "{");
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--profile", directory_ + "/none.json"},
                                               {"--profile", directory_ + "/bad.json"},
                                               {"--ranks", "2"},
                                               {"--ranks", "0"},
                                               {"micro_batch=0"}}) {
    const Outcome outcome = plan(more);
    EXPECT_EQ(outcome.code, 2) << more[0] << outcome.out;
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
  }
}

TEST_F(Plan, TrainComparesWithTheProfileAndTraces) {
  const std::string trace = directory_ + "/measured.json";
  const std::vector<std::string> words = {"train", file_, "text=" + text_, "--trace", trace, "--trace-step", "4"};
  const Outcome unmeasured = run(words);
  ASSERT_EQ(unmeasured.code, 0) << unmeasured.err;
  EXPECT_THAT(unmeasured.out, AllOf(HasSubstr("predicted  nothing, this machine has not been measured"),
                                    Not(HasSubstr("measured   op"))));
  std::map<int, double> ends;
  for (const json& event : events_of(trace)) {
    if (event["ph"] != "X") continue;
    EXPECT_GE(event["ts"].get<double>(), ends[event["tid"]] - 1e-6);
    ends[event["tid"]] = event["ts"].get<double>() + event["dur"].get<double>();
  }
  EXPECT_EQ(ends.size(), 1U);

  put_profile();
  const Outcome measured = run({"train", file_, "text=" + text_, "out=" + directory_ + "/again"});
  ASSERT_EQ(measured.code, 0) << measured.err;
  EXPECT_THAT(measured.out, AllOf(HasSubstr("from the profile of"), HasSubstr("predicted  "),
                                  HasSubstr("measured   op"), HasSubstr("all ops")));
}

TEST_F(Plan, ADamagedProfileStopsNoRun) {
  make_directories(parent_directory(profile()));
  write_file_atomic(profile(), "{");
  const Outcome outcome = run({"train", file_, "text=" + text_});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("predicted  nothing, " + profile()));
}

TEST_F(Plan, ATraceNeedsItsDirectory) {
  const Outcome outcome = run({"train", file_, "text=" + text_, "--trace", directory_ + "/none/step.json"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("there is no directory " + directory_ + "/none"));
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/out"));
}

TEST(ProfilePlace, FollowsTheEnvironment) {
  std::map<std::string, const char*> variables;
  const auto place = [&](DeviceKind device = DeviceKind::cpu) {
    return profile_place([&](const char* name) { return variables.contains(name) ? variables[name] : nullptr; },
                         device);
  };
  EXPECT_EQ(place(), "");
  variables["HOME"] = "/home/me";
  EXPECT_EQ(place(), "/home/me/.cache/centavo/profile.json");
  variables["XDG_CACHE_HOME"] = "";
  EXPECT_EQ(place(), "/home/me/.cache/centavo/profile.json");
  variables["XDG_CACHE_HOME"] = "/cache";
  EXPECT_EQ(place(), "/cache/centavo/profile.json");
  EXPECT_EQ(place(DeviceKind::cuda), "/cache/centavo/profile-cuda.json");
}

}  // namespace
}  // namespace centavo::testing
