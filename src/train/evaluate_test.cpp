#include "train/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/errors.h"
#include "base/rng.h"
#include "data/corpus.h"
#include "model/initialize.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"
#include "train/export_checkpoint.h"
#include "train/text_windows.h"

namespace centavo::testing {
namespace {

bool operator==(const Window& a, const Window& b) {
  return a.tokens == b.tokens && a.starts == b.starts && a.first_target == b.first_target;
}

// Documents of up to `longest` tokens.
std::vector<std::vector<int32_t>> random_documents(uint64_t seed, int64_t count, uint32_t longest) {
  const RandomStream random{seed, 7};
  std::vector<std::vector<int32_t>> documents(static_cast<size_t>(count));
  uint64_t draws = 0;
  for (auto& document : documents) {
    document.resize(1 + random.bits(draws++) % longest);
    for (int32_t& token : document) token = static_cast<int32_t>(random.bits(draws++) % 61);
  }
  return documents;
}

WindowCutter cutter_of(const std::vector<std::vector<int32_t>>& documents, int64_t seq_len) {
  return WindowCutter(seq_len, [&documents, at = size_t{0}](std::vector<int32_t>& row) mutable {
    if (at == documents.size()) return false;
    row.insert(row.end(), documents[at].begin(), documents[at].end());
    ++at;
    return true;
  });
}

TEST(WindowCutter, CutsAsAValidationSplitIsCut) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const auto documents = random_documents(seed, 1 + static_cast<int64_t>(seed) * 3, seed % 2 == 0 ? 9 : 200);
    const std::string directory = fresh_directory("windows");
    ShardWriter writer(directory, "validation", 61, {.tokens_bytes = 100, .documents = 5});
    for (const auto& document : documents) writer.add(document);
    std::vector<ShardReader> shards;
    for (const ShardRecord& record : writer.finish()) shards.emplace_back(directory + "/" + record.name);
    const TokenStream stream(std::move(shards));
    if (stream.size() < 2) continue;
    for (const int64_t seq_len : {1, 7, 16, 1000}) {
      SCOPED_TRACE(fmt::format("seed {} seq_len {}", seed, seq_len));
      const ValidationWindows expected(stream, seq_len);
      WindowCutter cutter = cutter_of(documents, seq_len);
      Window window;
      Window wanted;
      for (int64_t i = 0; i < expected.windows(); ++i) {
        ASSERT_TRUE(cutter.next(window)) << i;
        expected.read(i, wanted);
        ASSERT_TRUE(window == wanted) << i;
      }
      EXPECT_FALSE(cutter.next(window));
    }
  }
}

TEST(WindowCutter, NothingToPredict) {
  Window window;
  const std::vector<std::vector<int32_t>> none;
  EXPECT_FALSE(cutter_of(none, 4).next(window));
  const std::vector<std::vector<int32_t>> one = {{5}};
  EXPECT_FALSE(cutter_of(one, 4).next(window));
}

class Evaluate : public ::testing::Test {
 protected:
  static Tokenizer words() { return Tokenizer({{'t', 'h'}, {256, 'e'}, {' ', 't'}}, EndOfText::last_id); }

  // A directory with a model of random weights and a context of 16.
  static std::string model_with(const Tokenizer& tokenizer) {
    ModelConfig model = golden_model(true);
    model.vocab_size = 262;
    model.max_position_embeddings = 16;
    model.initializer_range = 0.3;
    const auto machine = machine_for(decoding(test_ops(), model, 1, 1, 16));
    initialize_parameters(*machine, model, 3);
    const std::string directory = fresh_directory("evaluate") + "/model";
    export_model(*machine, model, exported(tokenizer), directory);
    return directory;
  }

  static Score score_text(const ModelDirectory& model, const std::string& path, const Tokenizer& tokenizer,
                          int64_t batch, int64_t seq_len) {
    TextWindows text(find_sources({path}), tokenizer, seq_len);
    Evaluator evaluator(test_ops(), model, {.worker = 2, .batch = batch, .seq_len = seq_len});
    return evaluator.evaluate([&](Window& window) { return text.next(window); }, tokenizer);
  }

  // -log softmax(logits)[target] of the last of `context`.
  static double nats(CpuMachine& machine, const std::vector<int32_t>& context, int32_t target) {
    std::vector<double> tokens(16);
    std::vector<double> positions(16);
    for (size_t i = 0; i < context.size(); ++i) {
      tokens[i] = context[i];
      positions[i] = static_cast<double>(i);
    }
    set_tensor(machine, "tokens", tokens);
    set_tensor(machine, "positions", positions);
    set_tensor(machine, "position", {0});
    set_tensor(machine, "cu_seqlens", {0, static_cast<double>(context.size())});
    machine.step();
    const auto all = get_tensor(machine, "logits");
    const double* logits = all.data() + (context.size() - 1) * 262;
    double sum = 0;
    for (int i = 0; i < 262; ++i) sum += std::exp(logits[i] - logits[target]);
    return std::log(sum);
  }
};

// Two documents in a window of 16: the sum by hand, each target from what precedes it in its document.
TEST_F(Evaluate, IsTheSumOverTargets) {
  const Tokenizer tokenizer = words();
  const std::string directory = model_with(tokenizer);
  const ModelDirectory model = open_model(directory);
  write_file_atomic(directory + "/../two.jsonl", "{\"text\": \"the th\"}\n{\"text\": \"abc\"}\n");
  // "th" was learnt before " t".
  const std::vector<int32_t> first = {259, 257, ' ', 256};
  const std::vector<int32_t> second = {259, 'a', 'b', 'c'};
  std::vector<int32_t> got;
  Encoder(tokenizer).encode("the th", got);
  ASSERT_EQ(got, (std::vector<int32_t>(first.begin() + 1, first.end())));

  const auto machine = machine_for(decoding(test_ops(), model.config.model, 1, 16, 16));
  load_parameters(*machine, model);
  double expected = 0;
  for (size_t i = 1; i < 4; ++i) {
    expected += nats(*machine, {first.begin(), first.begin() + static_cast<int64_t>(i)}, first[i]);
    expected += nats(*machine, {second.begin(), second.begin() + static_cast<int64_t>(i)}, second[i]);
  }
  expected += nats(*machine, first, 259);  // the second document begins
  const Score score = score_text(model, directory + "/../two.jsonl", tokenizer, 1, 16);
  EXPECT_NEAR(score.nats, expected, 1e-5 * expected);
  EXPECT_EQ(score.tokens, 7);
  EXPECT_EQ(score.bytes, 9);
  EXPECT_DOUBLE_EQ(score.loss(), score.nats / 7);
  EXPECT_DOUBLE_EQ(score.bits_per_byte(), score.nats / std::numbers::ln2 / 9);
}

std::string long_text(const std::string& path) {
  std::string lines;
  for (int i = 0; i < 60; ++i) lines += fmt::format("{{\"text\": \"the {}th line\\nof the text {}\"}}\n", i * i, i);
  write_file_atomic(path, lines);
  return path;
}

TEST_F(Evaluate, EveryTokenOnceWhateverTheBatch) {
  const Tokenizer tokenizer = words();
  const std::string directory = model_with(tokenizer);
  const ModelDirectory model = open_model(directory);
  const std::string path = long_text(directory + "/../long.jsonl");
  std::vector<int32_t> row;
  TextWindows all(find_sources({path}), tokenizer, 1 << 20);
  Window window;
  ASSERT_TRUE(all.next(window));
  EXPECT_EQ(all.documents(), 60);
  EXPECT_EQ(all.bytes_read(), all.bytes_total());
  const auto targets = static_cast<int64_t>(window.tokens.size()) - 1;
  const Score one = score_text(model, path, tokenizer, 1, 16);
  EXPECT_EQ(one.tokens, targets);
  for (const int64_t batch : {2, 7, 40}) {
    const Score many = score_text(model, path, tokenizer, batch, 16);
    EXPECT_EQ(many.tokens, one.tokens);
    EXPECT_EQ(many.bytes, one.bytes);
    EXPECT_NEAR(many.nats, one.nats, 1e-5 * one.nats);
  }
}

TEST_F(Evaluate, ADataDirectoryScoresAsItsText) {
  const std::string parent = fresh_directory("evaluate");
  const std::string path = long_text(parent + "/long.jsonl");
  write_file_atomic(parent + "/tokenizer.json", words().json());
  build_corpus({.paths = {path},
                .directory = parent + "/data",
                .tokenizer = parent + "/tokenizer.json",
                .validation_fraction = 0.0});
  const Corpus corpus = open_corpus(parent + "/data");
  const ModelDirectory model = open_model(model_with(corpus.tokenizer));
  const ValidationWindows windows(corpus.train, 16);  // all of the text, in its order
  Evaluator evaluator(test_ops(), model, {.worker = 2, .batch = 4, .seq_len = 16});
  int64_t index = 0;
  int64_t calls = 0;
  const Score score = evaluator.evaluate(
      [&](Window& window) {
        if (index == windows.windows()) return false;
        windows.read(index++, window);
        return true;
      },
      corpus.tokenizer, [&](const Score&) { ++calls; });
  const Score text = score_text(model, path, corpus.tokenizer, 4, 16);
  EXPECT_EQ(score.tokens, text.tokens);
  EXPECT_EQ(score.bytes, text.bytes);
  EXPECT_EQ(score.nats, text.nats);
  EXPECT_EQ(calls, (windows.windows() + 3) / 4);
}

// Bytes have no <|endoftext|>: what begins a document cannot be predicted.
TEST_F(Evaluate, BordersWithoutAMarkAreNoTargets) {
  const Tokenizer bytes;
  const std::string directory = model_with(bytes);
  const ModelDirectory model = open_model(directory);
  const std::string path = directory + "/../two.jsonl";
  write_file_atomic(path, "{\"text\": \"abc\"}\n{\"text\": \"de\"}\n");
  const Score score = score_text(model, path, bytes, 1, 16);
  EXPECT_EQ(score.tokens, 3);
  EXPECT_EQ(score.bytes, 3);
  write_file_atomic(path, "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
  EXPECT_THROW(score_text(model, path, bytes, 1, 16), UserError);
}

}  // namespace
}  // namespace centavo::testing
