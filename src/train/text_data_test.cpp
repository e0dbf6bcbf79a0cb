#include "train/text_data.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>

#include <filesystem>
#include <map>
#include <set>
#include <vector>

#include "base/errors.h"

namespace centavo {
namespace {

// The text "0 1 2 .. 255 0 1 ..", so that a token tells its place modulo 256.
std::string counting(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i);
  return text;
}

struct Sample {
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
  bool operator==(const Sample&) const = default;
};

class Text : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + fmt::format("text_data_test.{}", ::getpid());
    std::filesystem::create_directories(directory_);
    path_ = directory_ + "/text.txt";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  ByteText open(const std::string& text, double fraction, int64_t seq_len) {
    write_file_atomic(path_, text);
    seq_len_ = static_cast<size_t>(seq_len);
    return ByteText(path_, fraction, seq_len);
  }

  Sample blank() const { return {std::vector<int32_t>(seq_len_, -1), std::vector<int32_t>(seq_len_, -1)}; }
  Sample train(const ByteText& text, uint64_t seed, int64_t index) const {
    Sample sample = blank();
    text.train_sample(seed, index, sample.tokens, sample.targets);
    return sample;
  }
  Sample validation(const ByteText& text, int64_t index) const {
    Sample sample = blank();
    text.validation_sample(index, sample.tokens, sample.targets);
    return sample;
  }

  void expect_rejected(double fraction, int64_t seq_len, const std::string& why) {
    try {
      const ByteText text(path_, fraction, seq_len);
      ADD_FAILURE() << "accepted, expected: " << why;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(path_), std::string::npos) << error.what();
    }
  }

  std::string directory_;
  std::string path_;
  size_t seq_len_ = 0;
};

TEST_F(Text, SplitsAndWindowsByHand) {
  // 20 bytes: 15 train, 5 validate; windows of 4: floor(14 / 4) = 3 and floor(4 / 4) = 1
  const ByteText text = open(counting(20), 0.25, 4);
  EXPECT_EQ(text.size_bytes(), 20);
  EXPECT_EQ(text.train_windows(), 3);
  EXPECT_EQ(text.validation_windows(), 1);
  EXPECT_EQ(validation(text, 0), (Sample{{15, 16, 17, 18}, {16, 17, 18, 19}}));
}

TEST_F(Text, BytesAboveAsciiArePositive) {
  const ByteText text = open("\xff\x80\x7f", 0, 2);
  EXPECT_EQ(train(text, 0, 0), (Sample{{255, 128}, {128, 127}}));
}

TEST_F(Text, ValidationWindowsAreConsecutive) {
  const ByteText text = open(counting(256), 0.5, 10);
  ASSERT_EQ(text.validation_windows(), 12);
  for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(validation(text, i).tokens[0], 128 + 10 * i);
}

TEST_F(Text, AnEpochReadsEveryWindowOnceWithoutOverlap) {
  const ByteText text = open(counting(230), 0, 7);
  const int64_t windows = text.train_windows();
  ASSERT_EQ(windows, 32);
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    std::set<int32_t> starts;
    for (int64_t i = 0; i < windows; ++i) {
      const Sample sample = train(text, 5, epoch * windows + i);
      const int32_t start = sample.tokens[0];
      for (int32_t t = 0; t < 7; ++t) {
        EXPECT_EQ(sample.tokens[static_cast<size_t>(t)], start + t);
        EXPECT_EQ(sample.targets[static_cast<size_t>(t)], start + t + 1);
      }
      starts.insert(start);
    }
    ASSERT_EQ(static_cast<int64_t>(starts.size()), windows) << "epoch " << epoch;
    EXPECT_LT(*starts.begin(), 7);
    // neighbours are seq_len apart, but for the last window, which ends with the split at the latest
    EXPECT_LE(*starts.rbegin(), 230 - 1 - 7);
    const int32_t first = *starts.begin();
    for (const int32_t start : starts) EXPECT_TRUE((start - first) % 7 == 0 || start == *starts.rbegin()) << start;
  }
}

TEST_F(Text, BordersAndOrderDifferBetweenEpochs) {
  const ByteText text = open(counting(230), 0, 7);
  std::set<int32_t> phases;
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 60; ++epoch) {
    std::vector<int64_t> order;
    int32_t least = 255;
    for (int64_t i = 0; i < text.train_windows(); ++i) {
      const int32_t start = train(text, 5, epoch * text.train_windows() + i).tokens[0];
      order.push_back(start / 7);
      least = std::min(least, start);
    }
    phases.insert(least);
    orders.insert(order);
  }
  EXPECT_EQ(phases.size(), 7u);
  EXPECT_EQ(orders.size(), 60u);
}

TEST_F(Text, DependsOnSeedAndIndexOnly) {
  const ByteText text = open(counting(250), 0.1, 5);
  const Sample far = train(text, 9, 1'000'000'007);
  EXPECT_EQ(train(text, 9, 1'000'000'007), far);
  const ByteText again(path_, 0.1, 5);
  EXPECT_EQ(train(again, 9, 1'000'000'007), far);
  int same = 0;
  for (int64_t i = 0; i < 40; ++i) same += train(text, 1, i) == train(text, 2, i) ? 1 : 0;
  EXPECT_LT(same, 10);
}

TEST_F(Text, TrainingNeverSeesValidationBytes) {
  const ByteText text = open(counting(100), 0.2, 9);
  for (int64_t i = 0; i < 200; ++i) EXPECT_LT(train(text, 3, i).targets.back(), 80);
}

TEST_F(Text, OneWindowExactly) {
  const ByteText text = open(counting(5), 0, 4);
  EXPECT_EQ(text.train_windows(), 1);
  EXPECT_EQ(text.validation_windows(), 0);
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(train(text, 1, i).tokens[0], 0);
}

TEST_F(Text, HashIsOfTheContent) {
  const std::string content = counting(777);
  EXPECT_EQ(open(content, 0, 4).hash(), XXH3_64bits(content.data(), content.size()));
  EXPECT_NE(open(content + "x", 0, 4).hash(), XXH3_64bits(content.data(), content.size()));
}

TEST_F(Text, RejectsFilesThatCannotTrain) {
  EXPECT_THROW(ByteText(path_, 0.1, 4), UserError);
  EXPECT_THROW(ByteText(directory_, 0.1, 4), UserError);
  write_file_atomic(path_, "");
  expect_rejected(0.1, 4, "is empty");
  write_file_atomic(path_, "abcd");
  expect_rejected(0, 4, "has 4 bytes, of which the training split gets 4 but needs seq_len + 1 = 5");
  write_file_atomic(path_, counting(49));
  expect_rejected(0.1, 4, "has 49 bytes, of which the validation split gets 4 but needs seq_len + 1 = 5");
  write_file_atomic(path_, counting(50));
  EXPECT_EQ(ByteText(path_, 0.1, 4).validation_windows(), 1);
}

}  // namespace
}  // namespace centavo
