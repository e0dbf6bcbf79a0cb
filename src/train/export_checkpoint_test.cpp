#include "train/export_checkpoint.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "base/errors.h"
#include "machine/comm/threads.h"
#include "model/hf/llama_tensors.h"
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
    Generator generator(test_ops(), model, {.worker = CpuMachine::thread_count(0), .max_len = 46});
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

// While it lives this process gets no more than `bytes` of writable memory beyond what it has; mapped files do not
// count.
class MemoryBound {
 public:
  explicit MemoryBound(int64_t bytes) {
    ::getrlimit(RLIMIT_DATA, &limit_);
    const std::string status = read_file("/proc/self/status");
    const int64_t used = std::atoll(status.c_str() + status.find("VmData:") + 7) * 1024;
    const rlimit bound{.rlim_cur = static_cast<rlim_t>(used + bytes), .rlim_max = limit_.rlim_max};
    CHECK(::setrlimit(RLIMIT_DATA, &bound) == 0);
  }
  ~MemoryBound() { ::setrlimit(RLIMIT_DATA, &limit_); }
  MemoryBound(const MemoryBound&) = delete;
  MemoryBound& operator=(const MemoryBound&) = delete;

  static bool grants(size_t bytes) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) ::munmap(memory, bytes);
    return memory != MAP_FAILED;
  }

 private:
  rlimit limit_{};
};

// The parameters of the model from one block of memory: each from another element on.
std::vector<StatePart> parameters_of(const ModelConfig& model, std::span<const float> memory) {
  std::vector<StatePart> state;
  for (const TensorPiece& piece : llama_tensors(model)) {
    if (state.empty() || state.back().tensor != piece.parameter) {
      state.push_back({piece.parameter, DType::f32, piece.shape, 0, 0, {}});
    } else {
      state.back().shape[0] += piece.shape[0];
    }
  }
  for (size_t i = 0; i < state.size(); ++i) {
    state[i].end = element_count(state[i].shape);
    state[i].bytes = std::as_bytes(memory.subspan(i, static_cast<size_t>(state[i].end)));
  }
  return state;
}

// A model of 100 MB whose largest tensor has 32 MB, written in pieces by three ranks, is exported with 8 MB.
TEST(ExportCheckpoint, MemoryDoesNotGrowWithTheModel) {
  constexpr int64_t kBound = 8 << 20;
  const std::string directory = fresh_directory("bounded");
  const RunConfig config =
      micro_run(directory, {"model.hidden_size=1024", "model.intermediate_size=4096", "model.num_hidden_layers=1",
                            "model.num_attention_heads=8", "model.num_key_value_heads=8", "model.vocab_size=256"});
  const std::string model_directory = directory + "/model";
  std::vector<float> memory(2 * 4096 * 1024 + 64);
  std::iota(memory.begin(), memory.end(), 0.0F);
  const std::vector<StatePart> state = parameters_of(config.model, memory);
  const std::string text = print(config);
  ThreadWorld world(3);
  world.run([&](Communicator& c) {
    write_checkpoint(config.out,
                     {.step = 1, .program_hash = 0, .data_hash = 0, .config = text, .program = "p\n", .state = state},
                     c);
  });
  {
    const MemoryBound bound(kBound);
    EXPECT_FALSE(MemoryBound::grants(2 * kBound));
    export_checkpoint(config.out, "", model_directory);
  }
  ASSERT_GT(std::filesystem::file_size(model_directory + "/model.safetensors"), 8 * static_cast<uintmax_t>(kBound));
  const SafetensorsFile file(model_directory + "/model.safetensors");
  size_t exported_tensors = 0;
  for (const TensorPiece& piece : llama_tensors(config.model)) {
    const TensorView* tensor = file.find(piece.tensor);
    ASSERT_NE(tensor, nullptr) << piece.tensor;
    const StatePart& parameter = *std::ranges::find(state, piece.parameter, &StatePart::tensor);
    const std::vector<std::byte> expected = bytes_of(
        parameter.bytes.part(static_cast<size_t>(piece.first_element()) * sizeof(float), tensor->bytes.size()));
    EXPECT_EQ(tensor->shape, piece.shape);
    EXPECT_TRUE(std::ranges::equal(tensor->bytes, expected)) << piece.tensor;
    ++exported_tensors;
  }
  EXPECT_EQ(file.tensors().size(), exported_tensors);
}

}  // namespace
}  // namespace centavo::testing
