#include "train/batch_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/errors.h"
#include "tests/support/models.h"
#include "train/token_feed.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

constexpr int64_t kSteps = 3;

RunConfig joined_run(const std::string& directory) {
  return micro_run(directory, {"documents=joined", "grad_accum_steps=2", "validation_fraction=0.3"});
}

std::vector<int32_t> fed(const Machine& machine, const char* name, int64_t slot, size_t count) {
  std::vector<int32_t> values(count);
  machine.read(name, std::as_writable_bytes(std::span(values)), slot);
  return values;
}

void expect_user_error(const std::function<void()>& f, const std::string& why) {
  try {
    f();
    ADD_FAILURE() << "accepted, expected: " << why;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
  }
}

// Of each step the slots that the machine read.
TEST(BatchFile, HoldsWhatTheTrainerFeeds) {
  const std::string directory = fresh_directory("batches");
  const RunConfig config = joined_run(directory);
  Trainer trainer(test_ops(), config, {});
  write_training_batches(open_corpus(config.out + "/data"), config, kSteps, directory + "/train.bin");
  const BatchFile file(directory + "/train.bin");
  ASSERT_EQ(file.batches(), kSteps * config.grad_accum_steps);
  for (int64_t i = 0; i < file.batches(); ++i) {
    if (i % config.grad_accum_steps == 0) trainer.train_step();
    const int64_t slot = i % token_slots(config);
    const TokenBatch batch = file.batch(i);
    const auto expect_fed = [&](const char* name, const std::vector<int32_t>& values) {
      EXPECT_EQ(fed(trainer.machine(), name, slot, values.size()), values) << name << " of micro-batch " << i;
    };
    expect_fed("tokens", batch.tokens);
    expect_fed("targets", batch.targets);
    expect_fed("positions", batch.positions);
    expect_fed("cu_seqlens", batch.cu_seqlens);
  }
}

TEST(BatchFile, HoldsEachValidationTargetOnce) {
  const std::string directory = fresh_directory("batches");
  const RunConfig config = joined_run(directory);
  const Corpus corpus = corpus_of(config);
  write_validation_batches(corpus, config, directory + "/validation.bin");
  const BatchFile file(directory + "/validation.bin");
  int64_t targets = 0;
  for (int64_t i = 0; i < file.batches(); ++i) {
    targets += std::ranges::count_if(file.targets(i), [](int32_t target) { return target >= 0; });
  }
  EXPECT_EQ(targets + 1,
            corpus.validation.size() -
                (document_border(corpus.tokenizer) == DocumentBorder::masked ? corpus.validation.documents() - 1 : 0));
}

TEST(BatchFile, RandomTokensPredictTheNextAndDifferEverywhere) {
  const std::string directory = fresh_directory("batches");
  const RunConfig config = joined_run(directory);
  write_random_batches(config, kSteps, directory + "/random.bin");
  const BatchFile file(directory + "/random.bin");
  std::set<std::vector<int32_t>> rows;
  for (int64_t i = 0; i < file.batches(); ++i) {
    for (int64_t s = 0; s < file.sequences(); ++s) {
      const auto of = [&](std::span<const int32_t> values) {
        return values.subspan(static_cast<size_t>(s * file.seq_len()), static_cast<size_t>(file.seq_len()));
      };
      const std::span<const int32_t> tokens = of(file.tokens(i));
      const std::span<const int32_t> targets = of(file.targets(i));
      EXPECT_TRUE(std::equal(tokens.begin() + 1, tokens.end(), targets.begin()));
      EXPECT_GE(std::ranges::min(tokens), 0);
      EXPECT_LT(std::ranges::max(tokens), config.model.vocab_size);
      rows.emplace(tokens.begin(), tokens.end());
    }
  }
  EXPECT_EQ(std::ssize(rows), file.batches() * file.sequences());
}

TEST(BatchFile, RefusesDocumentsApartAndCutFiles) {
  const std::string directory = fresh_directory("batches");
  const RunConfig apart = micro_run(directory);
  expect_user_error([&] { write_random_batches(apart, kSteps, directory + "/apart.bin"); }, "documents = \"joined\"");
  write_random_batches(joined_run(directory), kSteps, directory + "/whole.bin");
  const std::string bytes = read_file(directory + "/whole.bin");
  for (const size_t size : {bytes.size() - 1, size_t{31}, size_t{0}}) {
    write_file_atomic(directory + "/cut.bin", bytes.substr(0, size));
    expect_user_error([&] { const BatchFile file(directory + "/cut.bin"); }, "cut.bin");
  }
}

// Their product is 2^64.
TEST(BatchFile, RefusesCountsWhoseProductOverflows) {
  const std::string path = fresh_directory("batches") + "/huge.bin";
  const std::array<int64_t, 4> header = {1, int64_t{1} << 32, int64_t{1} << 31, 1};
  write_file_atomic(path, {reinterpret_cast<const char*>(header.data()), sizeof(header)});
  expect_user_error([&] { const BatchFile file(path); }, "huge.bin");
}

}  // namespace
}  // namespace centavo::testing
