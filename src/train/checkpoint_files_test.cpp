#include "train/checkpoint_files.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "base/errors.h"
#include "base/files.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

class CheckpointFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    out_ = ::testing::TempDir() + fmt::format("checkpoint_files_test.{}", ::getpid());
    fs::create_directories(out_);
  }
  void TearDown() override { fs::remove_all(out_); }

  std::string write(int64_t step, const std::string& config = "seed = 1\n") {
    const std::array<float, 3> values = {1.0f, static_cast<float>(step), -3.0f};
    const std::vector<StatePart> state = {{"w", DType::f32, {3}, 0, 3, std::as_bytes(std::span<const float>(values))}};
    return write_checkpoint(out_, {.step = step,
                                   .program_hash = 0x00ff,
                                   .data_hash = 0xfedcba9876543210,
                                   .config = config,
                                   .program = "ranks 1\n",
                                   .state = state});
  }

  std::vector<int64_t> listed() const {
    std::vector<int64_t> steps;
    for (const CheckpointPlace& place : list_checkpoints(out_)) steps.push_back(place.step);
    return steps;
  }

  static void overwrite(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  // Damaged as it is, the checkpoint is refused with a message that names the file.
  static void expect_damage_found(const std::string& directory, const std::string& name, const std::string& what) {
    try {
      read_checkpoint(directory);
      ADD_FAILURE() << name << " " << what << " was accepted";
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(directory + "/" + name), std::string::npos) << error.what();
    }
  }

  std::string out_;
};

std::vector<std::string> files_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST_F(CheckpointFiles, RoundTrip) {
  const std::string directory = write(100);
  EXPECT_EQ(directory, out_ + "/checkpoints/step-00000100");
  EXPECT_EQ(files_in(directory), (std::vector<std::string>{"config.toml", "manifest.json", "program.txt",
                                                           "state-00000-of-00001.safetensors"}));
  const SafetensorsFile state(directory + "/state-00000-of-00001.safetensors");
  ASSERT_EQ(state.tensors().size(), 1U);
  EXPECT_EQ(state.tensors()[0].name, "w");
  EXPECT_EQ(state.tensors()[0].shape, Shape{3});
  const Checkpoint checkpoint = read_checkpoint(directory);
  EXPECT_EQ(checkpoint.step, 100);
  EXPECT_EQ(checkpoint.program_hash, 0x00ffu);
  EXPECT_EQ(checkpoint.data_hash, 0xfedcba9876543210u);
  EXPECT_EQ(checkpoint.config, "seed = 1\n");
  EXPECT_EQ(checkpoint.program, "ranks 1\n");
  const StoredTensor* w = checkpoint.find("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(checkpoint.find("v"), nullptr);
  EXPECT_EQ(checkpoint.find("x"), nullptr);
  ASSERT_EQ(w->pieces.size(), 1U);
  EXPECT_EQ(w->pieces[0].end, 3);
  EXPECT_EQ(w->pieces[0].bytes.size(), 12u);
}

TEST_F(CheckpointFiles, SameContentsGiveTheSameBytes) {
  const std::string directory = write(7);
  std::vector<std::string> first;
  for (const std::string& name : files_in(directory)) first.push_back(read_file(directory + "/" + name));
  fs::remove_all(directory);
  write(7);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(read_file(directory + "/" + files_in(directory)[i]), first[i]);
  }
}

TEST_F(CheckpointFiles, EveryFlippedByteIsFound) {
  const std::string directory = write(3);
  for (const std::string& name : files_in(directory)) {
    const std::string path = directory + "/" + name;
    const std::string whole = read_file(path);
    ASSERT_FALSE(whole.empty());
    for (size_t i = 0; i < whole.size(); ++i) {
      for (const int flip : {0x01, 0x20, 0xff}) {
        std::string bytes = whole;
        bytes[i] = static_cast<char>(bytes[i] ^ flip);
        overwrite(path, bytes);
        expect_damage_found(directory, name, fmt::format("byte {} ^ {}", i, flip));
      }
    }
    overwrite(path, whole);
  }
  EXPECT_EQ(read_checkpoint(directory).step, 3);
}

TEST_F(CheckpointFiles, EveryTruncationAndExtensionIsFound) {
  const std::string directory = write(3);
  for (const std::string& name : files_in(directory)) {
    const std::string path = directory + "/" + name;
    const std::string whole = read_file(path);
    for (size_t size = 0; size < whole.size(); ++size) {
      overwrite(path, whole.substr(0, size));
      expect_damage_found(directory, name, fmt::format("cut to {}", size));
    }
    for (const char* more : {" ", "\n", "0"}) {
      overwrite(path, whole + more);
      expect_damage_found(directory, name, "extended");
    }
    overwrite(path, whole);
  }
}

TEST_F(CheckpointFiles, EveryMissingFileIsFound) {
  const std::string directory = write(3);
  for (const std::string& name : files_in(directory)) {
    const std::string whole = read_file(directory + "/" + name);
    fs::remove(directory + "/" + name);
    expect_damage_found(directory, name, "missing");
    overwrite(directory + "/" + name, whole);
  }
}

TEST_F(CheckpointFiles, TheNewestWholeOneIsTaken) {
  EXPECT_FALSE(read_newest_checkpoint(out_).has_value());
  for (const int step : {3, 5, 9}) write(step);
  const auto newest = read_newest_checkpoint(out_);
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->checkpoint.step, 9);
  EXPECT_TRUE(newest->damaged.empty());

  overwrite(out_ + "/checkpoints/step-00000009/state-00000-of-00001.safetensors", "x");
  const auto before = read_newest_checkpoint(out_);
  ASSERT_TRUE(before.has_value());
  EXPECT_EQ(before->checkpoint.step, 5);
  EXPECT_EQ(before->directory, out_ + "/checkpoints/step-00000005");
  ASSERT_EQ(before->damaged.size(), 1U);
  EXPECT_NE(before->damaged[0].find("step-00000009/state-00000-of-00001.safetensors is damaged"), std::string::npos);

  for (const int step : {3, 5}) fs::remove(fmt::format("{}/checkpoints/step-{:08}/program.txt", out_, step));
  EXPECT_THROW(read_newest_checkpoint(out_), UserError);
}

TEST_F(CheckpointFiles, ListsNewestFirst) {
  EXPECT_TRUE(list_checkpoints(out_).empty());
  EXPECT_TRUE(list_checkpoints(out_ + "/absent").empty());
  for (const int64_t step : {5, 123456789, 20, 0}) write(step);
  EXPECT_EQ(listed(), (std::vector<int64_t>{123456789, 20, 5, 0}));
}

TEST_F(CheckpointFiles, IgnoresLeftoversAndForeignNames) {
  const std::string directory = write(10);
  fs::copy(directory, out_ + "/checkpoints/step-00000011.tmp", fs::copy_options::recursive);
  fs::copy(directory, out_ + "/checkpoints/step-12", fs::copy_options::recursive);
  fs::copy(directory, out_ + "/checkpoints/step-00000013x", fs::copy_options::recursive);
  fs::copy(directory, out_ + "/checkpoints/best", fs::copy_options::recursive);
  fs::create_directory(out_ + "/checkpoints/step-00000014");
  EXPECT_EQ(listed(), (std::vector<int64_t>{10}));
}

TEST_F(CheckpointFiles, AnInterruptedWriteDoesNotHinderTheNext) {
  fs::create_directories(out_ + "/checkpoints/step-00000010.tmp/deep");
  overwrite(out_ + "/checkpoints/step-00000010.tmp/stale.bin", "stale");
  const std::string directory = write(10);
  EXPECT_EQ(files_in(directory).size(), 4u);
  EXPECT_EQ(files_in(out_ + "/checkpoints"), (std::vector<std::string>{"step-00000010"}));
}

TEST_F(CheckpointFiles, ReplacesTheSameStep) {
  write(10, "seed = 1\n");
  const std::string directory = write(10, "seed = 2\n");
  EXPECT_EQ(read_checkpoint(directory).config, "seed = 2\n");
  EXPECT_EQ(files_in(out_ + "/checkpoints"), (std::vector<std::string>{"step-00000010"}));
}

TEST_F(CheckpointFiles, PruneKeepsTheNewestAndForeignFiles) {
  for (const int64_t step : {1, 2, 3, 4}) write(step);
  fs::create_directories(out_ + "/checkpoints/step-00000009.tmp");
  fs::create_directories(out_ + "/checkpoints/step-00000008");  // its manifest was removed, then the removal stopped
  fs::create_directories(out_ + "/checkpoints/best");
  prune_checkpoints(out_, 2);
  EXPECT_EQ(files_in(out_ + "/checkpoints"), (std::vector<std::string>{"best", "step-00000003", "step-00000004"}));
  EXPECT_EQ(read_checkpoint(out_ + "/checkpoints/step-00000004").step, 4);
  prune_checkpoints(out_, 5);
  EXPECT_EQ(listed(), (std::vector<int64_t>{4, 3}));
  prune_checkpoints(out_ + "/absent", 1);
}

// Replaces `from` in the manifest and seals it again, as another version of centavo would.
void reseal(const std::string& path, const std::string& from, const std::string& to) {
  const std::string sealed = read_file(path);
  std::string unsealed = sealed.substr(0, sealed.rfind(",\n  \"self\"")) + "\n}\n";
  unsealed.replace(unsealed.find(from), from.size(), to);
  const uint64_t hash = XXH3_64bits(unsealed.data(), unsealed.size());
  write_file_atomic(path,
                    unsealed.substr(0, unsealed.size() - 3) + fmt::format(",\n  \"self\": \"{:016x}\"\n}}\n", hash));
}

TEST_F(CheckpointFiles, RefusesOtherFormatsAndFields) {
  const std::string directory = write(1);
  const std::string path = directory + "/manifest.json";
  reseal(path, "\"step\": 1", "\"step\": 2");
  EXPECT_EQ(read_checkpoint(directory).step, 2);
  reseal(path, "\"step\": 2", "\"step\": \"2\"");
  expect_damage_found(directory, "manifest.json", "with a step that is no number");
  reseal(path, "\"format\": 2", "\"format\": 1");
  expect_damage_found(directory, "manifest.json", "of another format");
  reseal(path, "\"step\": \"2\"", "\"step\": 2");
  try {
    read_checkpoint(directory);
    ADD_FAILURE() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()), fmt::format("checkpoint file {} has format 1, this centavo reads 2: use the "
                                                     "centavo that wrote it",
                                                     path));
  }
}

}  // namespace
}  // namespace centavo
