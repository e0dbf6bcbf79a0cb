#include "data/sampler.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>

#include "base/errors.h"
#include "base/rng.h"
#include "data/packing.h"
#include "data/permutation.h"

namespace centavo {
namespace {

using Tokens = std::vector<int32_t>;

// A row in which token i is i, with documents of the given lengths.
class Samples : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + fmt::format("sampler test.{}", ::getpid());
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  TokenStream counting(const std::vector<int32_t>& lengths) const {
    ShardWriter writer(root_, "train", 1 << 20, {.tokens_bytes = 200});
    int32_t next = 0;
    for (const int32_t length : lengths) {
      Tokens document(static_cast<size_t>(length));
      std::iota(document.begin(), document.end(), next);
      next += length;
      writer.add(document);
    }
    std::vector<ShardReader> shards;
    for (const ShardRecord& record : writer.finish()) shards.emplace_back(root_ + "/" + record.name);
    return TokenStream(std::move(shards));
  }

  std::string root_;
};

Window training(const TokenStream& stream, int64_t seq_len, uint64_t seed, int64_t index) {
  Window window;
  TrainingSampler(stream, seq_len, seed).read(index, window);
  return window;
}

// The formula of the header, written out again.
TEST_F(Samples, StartsFollowTheFormula) {
  const TokenStream stream = counting({130, 100});
  const TrainingSampler sampler(stream, 7, 42);
  ASSERT_EQ(sampler.windows(), 32);
  for (int64_t i = 0; i < 200; ++i) {
    const uint64_t epoch = static_cast<uint64_t>(i) / 32;
    const RandomStream shift = random_stream(42 ^ stream_of("text.shift", 10), epoch, 0, 0);
    const RandomStream order = random_stream(42 ^ stream_of("text.order", 10), epoch, 0, 0);
    const int64_t r = static_cast<int64_t>(shift.uniform(0) * 7);
    const int64_t k = permuted(i % 32, 32, order.key, order.stream);
    EXPECT_EQ(sampler.start(i), std::min<int64_t>(r + 7 * k, 230 - 1 - 7));
  }
}

TEST_F(Samples, AnEpochReadsEveryWindowOnceWithoutOverlap) {
  const TokenStream stream = counting({100, 1, 129});
  const TrainingSampler sampler(stream, 7, 5);
  std::set<int64_t> phases;
  for (int64_t epoch = 0; epoch < 40; ++epoch) {
    std::set<int64_t> starts;
    for (int64_t i = 0; i < 32; ++i) starts.insert(sampler.start(epoch * 32 + i));
    ASSERT_EQ(starts.size(), 32u) << epoch;
    EXPECT_LE(*starts.rbegin(), 230 - 1 - 7);
    for (const int64_t start : starts) {
      EXPECT_TRUE((start - *starts.begin()) % 7 == 0 || start == *starts.rbegin()) << start;
    }
    phases.insert(*starts.begin());
  }
  EXPECT_EQ(phases.size(), 7u);
}

TEST_F(Samples, WindowsHoldTokensAndDocuments) {
  const TokenStream stream = counting({60, 50, 70, 2, 48});
  for (int64_t i = 0; i < 100; ++i) {
    const Window window = training(stream, 9, 1, i);
    const int32_t start = window.tokens[0];
    EXPECT_EQ(start, TrainingSampler(stream, 9, 1).start(i));
    ASSERT_EQ(window.tokens.size(), 10u);
    std::vector<int64_t> expected;
    for (const int32_t border : {0, 60, 110, 180, 182}) {
      if (border >= start && border < start + 10) expected.push_back(border - start);
    }
    EXPECT_EQ(window.starts, expected) << start;
    EXPECT_EQ(window.tokens.back(), start + 9);
    EXPECT_EQ(window.first_target, 0);
  }
}

TEST_F(Samples, DependsOnSeedAndIndexOnly) {
  const TokenStream stream = counting({250});
  EXPECT_EQ(training(stream, 5, 9, 1'000'000'007).tokens, training(stream, 5, 9, 1'000'000'007).tokens);
  int same = 0;
  for (int64_t i = 0; i < 49; ++i) same += training(stream, 5, 1, i).tokens == training(stream, 5, 2, i).tokens ? 1 : 0;
  EXPECT_LT(same, 12);
}

TEST_F(Samples, ValidationCountsEveryTargetOnce) {
  for (int32_t size = 2; size < 40; ++size) {
    const TokenStream stream = counting({size});
    for (const int64_t seq_len : {1, 2, 5, 12, 38, 39, 100}) {
      const ValidationWindows validation(stream, seq_len);
      std::map<int32_t, int> counts;
      Window window;
      for (int64_t i = 0; i < validation.windows(); ++i) {
        validation.read(i, window);
        ASSERT_LE(static_cast<int64_t>(window.tokens.size()), seq_len + 1);
        for (size_t t = static_cast<size_t>(window.first_target); t + 1 < window.tokens.size(); ++t) {
          ++counts[window.tokens[t + 1]];
        }
      }
      ASSERT_EQ(counts.size(), static_cast<size_t>(size - 1)) << size << " " << seq_len;
      for (const auto& [token, count] : counts) ASSERT_EQ(count, 1) << token;
    }
  }
}

TEST_F(Samples, ValidationByHand) {
  const TokenStream stream = counting({4, 7});
  const ValidationWindows validation(stream, 4);
  ASSERT_EQ(validation.windows(), 3);
  Window window;
  validation.read(1, window);
  EXPECT_EQ(window.tokens, (Tokens{4, 5, 6, 7, 8}));
  EXPECT_EQ(window.starts, std::vector<int64_t>{0});
  EXPECT_EQ(window.first_target, 0);
  validation.read(2, window);
  EXPECT_EQ(window.tokens, (Tokens{6, 7, 8, 9, 10}));
  EXPECT_EQ(window.first_target, 2);
}

TEST_F(Samples, ShortRowsAreNamed) {
  const TokenStream stream = counting({10});
  EXPECT_EQ(TrainingSampler(stream, 9, 0).windows(), 1);
  EXPECT_EQ(TrainingSampler(stream, 9, 0).start(3), 0);
  try {
    TrainingSampler(stream, 10, 0);
    ADD_FAILURE();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "the training split has 10 tokens but needs seq_len + 1 = 11: give more text or lower seq_len");
  }
  EXPECT_THROW(ValidationWindows(counting({1}), 4), UserError);
  EXPECT_THROW(ValidationWindows(counting({}), 4), UserError);
}

TEST(Packing, ByHand) {
  const std::vector<Window> windows = {{{10, 11, 12, 13, 14}, {2, 4}, 0}, {{20, 21, 22, 23, 24}, {0}, 3}};
  TokenBatch batch;
  pack(windows, 4, DocumentBorder::predicted, batch);
  EXPECT_EQ(batch.tokens, (Tokens{10, 11, 12, 13, 20, 21, 22, 23}));
  EXPECT_EQ(batch.targets, (Tokens{11, 12, 13, 14, -1, -1, -1, 24}));
  EXPECT_EQ(batch.positions, (Tokens{0, 1, 0, 1, 0, 1, 2, 3}));
  EXPECT_EQ(batch.cu_seqlens, (Tokens{0, 2, 4, 8, 8, 8, 8, 8, 8}));
  pack(windows, 4, DocumentBorder::masked, batch);
  EXPECT_EQ(batch.targets, (Tokens{11, -1, 13, -1, -1, -1, -1, 24}));
}

TEST(Packing, PaddingIsADocumentOfItsOwn) {
  TokenBatch batch;
  pack(std::vector<Window>{{{7, 8, 9}, {0, 2}, 0}, {}}, 4, DocumentBorder::predicted, batch);
  EXPECT_EQ(batch.tokens, (Tokens{7, 8, 9, 0, 0, 0, 0, 0}));
  EXPECT_EQ(batch.targets, (Tokens{8, 9, -1, -1, -1, -1, -1, -1}));
  EXPECT_EQ(batch.positions, (Tokens{0, 1, 0, 0, 0, 1, 2, 3}));
  EXPECT_EQ(batch.cu_seqlens, (Tokens{0, 2, 3, 4, 8, 8, 8, 8, 8}));
}

TEST(Packing, JoinedDocuments) {
  TokenBatch batch;
  pack(std::vector<Window>{{{7, 8, 9}, {0, 2}, 0}, {}}, 4, DocumentBorder::masked, batch, Documents::joined);
  EXPECT_EQ(batch.tokens, (Tokens{7, 8, 9, 0, 0, 0, 0, 0}));
  EXPECT_EQ(batch.targets, (Tokens{8, -1, -1, -1, -1, -1, -1, -1}));
  EXPECT_EQ(batch.positions, (Tokens{0, 1, 2, 3, 0, 1, 2, 3}));
  EXPECT_EQ(batch.cu_seqlens, (Tokens{0, 4, 8}));
}

TEST(Packing, EveryTokenADocument) {
  TokenBatch batch;
  pack(std::vector<Window>{{{5, 5, 5, 5}, {0, 1, 2, 3}, 0}}, 3, DocumentBorder::masked, batch);
  EXPECT_EQ(batch.targets, (Tokens{-1, -1, -1}));
  EXPECT_EQ(batch.positions, (Tokens{0, 0, 0}));
  EXPECT_EQ(batch.cu_seqlens, (Tokens{0, 1, 2, 3}));
}

TEST(Packing, BorderFollowsTheTokenizer) {
  EXPECT_EQ(document_border(Tokenizer()), DocumentBorder::masked);
  EXPECT_EQ(document_border(Tokenizer({}, EndOfText::last_id)), DocumentBorder::predicted);
}

}  // namespace
}  // namespace centavo
