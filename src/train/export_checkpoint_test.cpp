#include "train/export_checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/errors.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"
#include "train/checkpoint_files.h"
#include "train/generate.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

void expect_user_error(const std::string& from, const std::string& tokenizer, const std::string& why) {
  try {
    export_checkpoint(from, tokenizer, fresh_directory("refused") + "/m");
    ADD_FAILURE() << "accepted, expected: " << why;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
  }
}

// A run of two checkpoints; the model says the same from the trainer's memory and from the exported directory.
TEST(ExportCheckpoint, ATrainedModelSaysTheSame) {
  const std::string directory = fresh_directory("export");
  for (const char* precision : {"fp32", "bf16"}) {
    const RunConfig config =
        micro_run(directory, {"model.max_position_embeddings=60", std::string("precision=") + precision,
                              "out=" + directory + "/" + precision});
    Trainer trainer(test_ops(), config, {});
    trainer.train_step();
    const std::string first = trainer.save();
    for (int i = 0; i < 5; ++i) trainer.train_step();
    const std::string second = trainer.save();

    const std::string model_directory = directory + "/model-" + precision;
    EXPECT_EQ(export_checkpoint(config.out, "", model_directory).step, 6);
    const ModelDirectory model = open_model(model_directory);
    EXPECT_EQ(model.config.model, config.model);
    EXPECT_EQ(model.precision, precision);
    const Tokenizer bytes = open_tokenizer(model);
    EXPECT_EQ(bytes.vocab_size(), 256);
    const GenerationSettings settings{.max_tokens = 40, .draw = {.temperature = 0.7}, .seed = 4};
    Generator generator(test_ops(), model, {.threads = 0, .max_len = 46});
    const auto prompt = prompt_tokens(bytes, "line 1", 60);
    EXPECT_EQ(
        generate_text(generator, bytes, drawable(bytes, model.config), prompt, settings).text,
        sample_text(test_ops(), config, CpuMachine::thread_count(0), trainer.machine(), bytes, "line 1", settings));

    EXPECT_EQ(export_checkpoint(first + "/", "", model_directory).step, 1);
    EXPECT_EQ(export_checkpoint(second, "", model_directory).checkpoint, second);
  }
}

TEST(ExportCheckpoint, WhatDoesNotFit) {
  const std::string directory = fresh_directory("export");
  expect_user_error(directory, "", "is no checkpoint and holds none");
  const RunConfig config = micro_run(directory, {"model.vocab_size=258"});
  Trainer(test_ops(), config, {}).save();
  std::filesystem::remove_all(config.out + "/data");
  expect_user_error(config.out, "", "has no data/tokenizer.json");
  expect_user_error(config.out, directory + "/none.json", "none.json");
  const std::string file = directory + "/tokenizer.json";
  write_file_atomic(file, Tokenizer({{'a', 'b'}, {'b', 'c'}, {'c', 'd'}}, EndOfText::last_id).json());
  expect_user_error(config.out, file, "the tokenizer has 260 tokens and the model of");
  write_file_atomic(file, Tokenizer({{'a', 'b'}}, EndOfText::last_id).json());
  const std::string model_directory = directory + "/m";
  export_checkpoint(config.out, file, model_directory);
  EXPECT_EQ(open_model(model_directory).config.eos_token_ids, std::vector<int64_t>{257});
  EXPECT_EQ(open_tokenizer(open_model(model_directory)).json(), read_file(file));
}

}  // namespace
}  // namespace centavo::testing
