#include "train/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/errors.h"
#include "base/utf8.h"
#include "model/initialize.h"
#include "passes/precision.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

constexpr int64_t kContext = 200;

// Bytes, "th", "the", <|endoftext|>: 259 tokens.
Tokenizer small_tokenizer() { return Tokenizer({{'t', 'h'}, {256, 'e'}}, EndOfText::last_id); }

ModelConfig text_model() {
  ModelConfig model = golden_model(false);
  model.vocab_size = 262;  // three ids that the tokenizer does not know
  model.max_position_embeddings = kContext;
  model.initializer_range = 0.3;
  return model;
}

// Owns the parameters; computes the logits of up to kContext tokens without a filled cache.
std::unique_ptr<CpuMachine> whole_machine(const std::string& policy = "fp32") {
  Program program = decoding(test_ops(), text_model(), 1, kContext, kContext);
  auto machine = machine_for(precision(std::move(program), test_ops(), precision_policy(policy)), {.debug = false});
  initialize_parameters(*machine, text_model(), 5);
  return machine;
}

// The likeliest token after each of `tokens`, computed from all of them at once.
std::vector<int32_t> likeliest_next(CpuMachine& machine, const std::vector<int32_t>& tokens) {
  std::vector<double> ids(kContext);
  std::vector<double> positions(kContext);
  for (size_t i = 0; i < tokens.size(); ++i) {
    ids[i] = tokens[i];
    positions[i] = static_cast<double>(i);
  }
  set_tensor(machine, "tokens", ids);
  set_tensor(machine, "positions", positions);
  set_tensor(machine, "position", {0});
  set_tensor(machine, "cu_seqlens", {0, static_cast<double>(tokens.size())});
  machine.step();
  const auto logits = get_tensor(machine, "logits");
  std::vector<int32_t> best;
  for (auto row = logits.begin(); best.size() < tokens.size(); row += text_model().vocab_size) {
    best.push_back(static_cast<int32_t>(std::max_element(row, row + text_model().vocab_size) - row));
  }
  return best;
}

const Drawable kAll = {.vocabulary = 262, .ends = {}};
const GenerationSettings kGreedy = {.max_tokens = 24, .draw = {.temperature = 0}, .seed = 1};

std::vector<int32_t> some_prompt(int64_t count) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < count; ++i) prompt.push_back(static_cast<int32_t>((31 * i * i + 7) % 262));
  return prompt;
}

Generator generator_of(CpuMachine& weights, const std::string& precision = "fp32", int64_t max_len = kContext) {
  return Generator(
      test_ops(), text_model(),
      {.precision = precision, .worker = 2, .in_units = false, .shard = "ddp", .borrowed = {BufferKind::parameter}},
      weights, max_len);
}

std::string export_of(const CpuMachine& machine, const Tokenizer& tokenizer) {
  const std::string directory = fresh_directory("generate") + "/model";
  ExportedTokenizer exported{tokenizer.json(), std::nullopt};
  if (tokenizer.end_of_text()) exported.end_of_text = {*tokenizer.end_of_text(), std::string(kEndOfText)};
  export_model(machine, text_model(), exported, directory);
  return directory;
}

template <class F>
void expect_user_error(const F& f, const std::string& why) {
  try {
    f();
    ADD_FAILURE() << "accepted, expected: " << why;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
  }
}

// Prompts shorter than a chunk of the prefill, one chunk long, and longer.
TEST(Generate, GreedyIsTheArgmaxOfTheWholeForward) {
  const auto whole = whole_machine();
  Generator generator = generator_of(*whole);
  for (const int64_t length : {1, 5, 128, 130, 170}) {
    std::vector<int32_t> tokens = some_prompt(length);
    const Generated generated = generator.generate(tokens, kAll, kGreedy);
    ASSERT_EQ(generated.tokens.size(), 24U);
    tokens.insert(tokens.end(), generated.tokens.begin(), generated.tokens.end() - 1);
    const std::vector<int32_t> best = likeliest_next(*whole, tokens);
    EXPECT_EQ(std::vector<int32_t>(best.end() - 24, best.end()), generated.tokens) << length;
  }
}

TEST(Generate, TopOneIsGreedy) {
  const auto whole = whole_machine();
  Generator generator = generator_of(*whole);
  GenerationSettings top_one = kGreedy;
  top_one.draw = {.temperature = 1.5, .top_k = 1};
  EXPECT_EQ(generator.generate(some_prompt(9), kAll, top_one).tokens,
            generator.generate(some_prompt(9), kAll, kGreedy).tokens);
}

TEST(Generate, TheSeedFixesTheTokens) {
  const auto whole = whole_machine();
  Generator generator = generator_of(*whole);
  GenerationSettings settings = kGreedy;
  settings.draw = {.temperature = 1};
  const auto once = generator.generate(some_prompt(9), kAll, settings).tokens;
  EXPECT_EQ(generator.generate(some_prompt(9), kAll, settings).tokens, once);
  EXPECT_EQ(generator_of(*whole).generate(some_prompt(9), kAll, settings).tokens, once);
  settings.seed = 2;
  EXPECT_NE(generator.generate(some_prompt(9), kAll, settings).tokens, once);
}

TEST(Generate, ADirectoryAndALenderSayTheSame) {
  for (const char* precision : {"fp32", "bf16"}) {
    const auto whole = whole_machine(precision);
    const ModelDirectory model = open_model(export_of(*whole, small_tokenizer()));
    EXPECT_EQ(model.precision, precision);
    Generator loaded(test_ops(), model, {.worker = 2, .max_len = 60});
    GenerationSettings settings = kGreedy;
    settings.draw = {.temperature = 0.9};
    EXPECT_EQ(loaded.generate(some_prompt(9), kAll, settings).tokens,
              generator_of(*whole, precision, 60).generate(some_prompt(9), kAll, settings).tokens);
  }
}

TEST(Generate, StopsWhereItMust) {
  const auto whole = whole_machine();
  Generator generator = generator_of(*whole, "fp32", 40);
  const Generated all = generator.generate(some_prompt(9), kAll, kGreedy);
  EXPECT_EQ(all.stop, Stop::max_tokens);

  const int32_t end = all.tokens[7];
  const auto first = std::ranges::find(all.tokens, end);
  const Generated ended = generator.generate(some_prompt(9), {262, {9999, end}}, kGreedy);
  EXPECT_EQ(ended.stop, Stop::end_of_text);
  EXPECT_EQ(ended.tokens, std::vector<int32_t>(all.tokens.begin(), first));

  const Generated full = generator.generate(some_prompt(30), kAll, kGreedy);
  EXPECT_EQ(full.stop, Stop::context);
  EXPECT_EQ(full.tokens.size(), 10U);
  GenerationSettings none = kGreedy;
  none.max_tokens = 0;
  EXPECT_TRUE(generator.generate(some_prompt(3), kAll, none).tokens.empty());
}

TEST(Generate, DrawsOnlyWhatTheTokenizerKnows) {
  const auto whole = whole_machine();
  Generator generator = generator_of(*whole);
  GenerationSettings settings = kGreedy;
  settings.max_tokens = 100;
  settings.draw = {.temperature = 50};
  for (const int32_t token : generator.generate(some_prompt(3), {3, {}}, settings).tokens) EXPECT_LT(token, 3);
}

TEST(Generate, SaysThatWeightsAreDamaged) {
  const auto whole = whole_machine();
  std::vector<double> norm(32, 1);
  norm[3] = std::numeric_limits<double>::quiet_NaN();
  set_tensor(*whole, "norm.weight", norm);
  expect_user_error([&] { generator_of(*whole).generate(some_prompt(3), kAll, kGreedy); },
                    "logits after 3 tokens are not finite");
}

TEST(GenerateText, StreamsWholeCharactersOfTheSameText) {
  const auto whole = whole_machine();
  Generator generator = generator_of(*whole);
  const Tokenizer tokenizer = small_tokenizer();
  const Drawable allowed = drawable(tokenizer);
  GenerationSettings settings{.max_tokens = 120, .draw = {.temperature = 3}, .seed = 8};
  const auto prompt = prompt_tokens(tokenizer, "the th\xc3\xa9", kContext);
  std::vector<std::string> pieces;
  const GeneratedText text = generate_text(generator, tokenizer, allowed, prompt, settings,
                                           [&](std::string_view piece) { pieces.emplace_back(piece); });
  std::string joined;
  for (const std::string& piece : pieces) {
    EXPECT_EQ(to_utf8(piece), piece);
    EXPECT_FALSE(piece.empty());
    joined += piece;
  }
  EXPECT_GT(pieces.size(), 10U);
  EXPECT_EQ(joined, text.text);
  const Generated generated = generator.generate(prompt, allowed, settings);
  EXPECT_EQ(text.text, to_utf8(tokenizer.decode(generated.tokens)));
  EXPECT_EQ(text.tokens, static_cast<int64_t>(generated.tokens.size()));
  EXPECT_NE(text.text.find("\xef\xbf\xbd"), std::string::npos);  // random bytes are no UTF-8
}

TEST(GenerateText, PromptsBeginLikeDocuments) {
  const Tokenizer tokenizer = small_tokenizer();
  EXPECT_EQ(prompt_tokens(tokenizer, "the", 5), (std::vector<int32_t>{258, 257}));
  EXPECT_EQ(prompt_tokens(tokenizer, "", 5), std::vector<int32_t>{258});
  const Tokenizer bytes;
  EXPECT_EQ(prompt_tokens(bytes, "ab", 5), (std::vector<int32_t>{'a', 'b'}));
  expect_user_error([&] { prompt_tokens(bytes, "", 5); }, "the prompt is empty");
  expect_user_error([&] { prompt_tokens(bytes, "abcdef", 5); },
                    "has 6 tokens, which leaves no room in the model's "
                    "context of 5");
  expect_user_error([&] { prompt_tokens(tokenizer, "abcd", 5); }, "has 5 tokens with the <|endoftext|> before it");
}

TEST(GenerateText, ATokenizerMustFitTheModel) {
  const auto whole = whole_machine();
  const std::string directory = export_of(*whole, small_tokenizer());
  const ModelDirectory model = open_model(directory);
  const Tokenizer tokenizer = open_tokenizer(model);
  EXPECT_EQ(tokenizer.vocab_size(), 259);
  EXPECT_EQ(drawable(tokenizer, model.config).ends, (std::vector<int32_t>{258, 258}));

  std::vector<Tokenizer::Merge> merges;
  for (int32_t i = 0; i < 6; ++i) merges.emplace_back('a', 'b' + i);
  write_file_atomic(directory + "/tokenizer.json", Tokenizer(merges, EndOfText::last_id).json());
  expect_user_error([&] { open_tokenizer(model); }, "has 263 tokens and the model beside it 262");
  std::filesystem::remove(directory + "/tokenizer.json");
  expect_user_error([&] { open_tokenizer(model); }, "holds no tokenizer.json");
}

}  // namespace
}  // namespace centavo::testing
