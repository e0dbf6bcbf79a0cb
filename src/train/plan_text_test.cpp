#include "train/plan_text.h"

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "data/tokenizer.h"
#include "ops/cuda/kernels.h"
#include "tests/support/models.h"

namespace centavo::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Its lines end to end, or what it refuses.
std::string dry(const RunConfig& config) {
  try {
    return fmt::format("{}", fmt::join(dry_run(test_ops(), config), "\n"));
  } catch (const UserError& error) {
    return std::string("refused: ") + error.what();
  }
}

std::string plan_of(const RunConfig& config, const Worker& worker) {
  return fmt::format("{}\n", fmt::join(plan_lines(config, training_program(test_ops(), config, worker), worker), "\n"));
}

TEST(PlanLines, SayWhichAttentionRunsOnAGpu) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  Worker worker = 1;
  worker.use("cuda");
  const std::string directory = fresh_directory("plan");
  EXPECT_THAT(plan_of(micro_run(directory), worker), HasSubstr("\nattention  own kernel: elements f32\n"));
  EXPECT_THAT(plan_of(micro_run(directory, {"precision=bf16"}), worker),
              HasSubstr("\nattention  own kernel: head size 4\n"));
  EXPECT_THAT(plan_of(micro_run(directory), 1), Not(HasSubstr("attention")));
}

TEST(PlanLines, SayWhyTheProcessorComputes) {
  Worker worker = 1;
  const RunConfig config = micro_run(fresh_directory("plan"));
  EXPECT_THAT(plan_of(config, worker), Not(HasSubstr("device")));
  worker.device_note = "the processor, because it rains";
  EXPECT_THAT(plan_of(config, worker), HasSubstr("\ndevice     the processor, because it rains\n"));
}

TEST(PlanLines, SayWhichPositionsAreNotTrained) {
  const auto plan = [](const std::string& positions, int64_t more) {
    RunConfig config = micro_run(fresh_directory("plan"), {"model.positions=" + positions});
    config.model.max_position_embeddings = config.seq_len + more;
    return plan_of(config, 1);
  };
  EXPECT_THAT(plan("learned", 3),
              HasSubstr("\npositions  the first 24 of 27 are trained, the others stay random; give "));
  EXPECT_THAT(plan("learned", 0), Not(HasSubstr("\npositions ")));
  EXPECT_THAT(plan("rope", 3), Not(HasSubstr("\npositions ")));
}

TEST(DryRun, NamesTheFilesOfTheTextAndMakesNothing) {
  const RunConfig config = micro_run(fresh_directory("dry"), {"sample_tokens=5"});
  EXPECT_THAT(dry(config), AllOf(HasSubstr("data       0.02 MB in 1 file of " + config.text), HasSubstr("work ")));
  EXPECT_FALSE(std::filesystem::exists(config.out));
}

TEST(DryRun, OpensADataDirectory) {
  RunConfig config = micro_run(fresh_directory("dry"));
  corpus_of(config);
  config.data = config.out + "/data";
  config.text.clear();
  config.model.vocab_size = 300;
  EXPECT_THAT(dry(config), AllOf(HasSubstr("documents of"), HasSubstr("to validate"),
                                 HasSubstr("44 of the model's 300 are never used"), HasSubstr("work ")));
}

TEST(DryRun, RefusesWhatARunWould) {
  RunConfig config = micro_run(fresh_directory("dry"), {"sample_tokens=5"});
  config.sample_prompt = "longer than the context of this model";
  RunConfig no_text = config;
  no_text.text += ".none";
  EXPECT_THAT(dry(no_text), AllOf(HasSubstr("refused: "), HasSubstr(no_text.text)));

  corpus_of(config);
  config.data = config.out + "/data";
  config.text.clear();
  EXPECT_THAT(dry(config), HasSubstr("refused: the prompt has 37 tokens"));
  config.data += ".none";
  EXPECT_THAT(dry(config), AllOf(HasSubstr("refused: "), HasSubstr(config.data)));
}

TEST(DryRun, ReadsTheTokenizer) {
  RunConfig config = micro_run(fresh_directory("dry"), {"model.vocab_size=256"});
  config.tokenizer = config.text + ".json";
  EXPECT_THAT(dry(config), AllOf(HasSubstr("refused: "), HasSubstr(config.tokenizer)));
  write_file_atomic(config.tokenizer, Tokenizer({{'a', 'b'}}, EndOfText::last_id).json());
  EXPECT_THAT(dry(config), HasSubstr("has 258 tokens and the model 256; set model.vocab_size = 258 or more"));
}

}  // namespace
}  // namespace centavo::testing
