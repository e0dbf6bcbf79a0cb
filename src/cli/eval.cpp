// centavo eval DIR --data PATH... [options]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/device_argument.h"
#include "cli/model_argument.h"
#include "cli/standing_line.h"
#include "data/corpus.h"
#include "ops/all.h"
#include "train/evaluate.h"
#include "train/generate.h"
#include "train/text_windows.h"
#include "train/units.h"

namespace centavo {
namespace {

struct EvalArguments {
  std::string directory;
  std::vector<std::string> data;
  int64_t batch = 0;
  int64_t seq_len = 0;
  DeviceArgument device;
  bool json = false;
};

constexpr int64_t kBatchTokens = 4096;

int64_t resolved_seq_len(const EvalArguments& arguments, const ModelDirectory& model) {
  const int64_t context = model.config.model.max_position_embeddings;
  if (arguments.seq_len > context) {
    user_error("--seq-len {} is longer than the model's context of {}; give a shorter one", arguments.seq_len, context);
  }
  return arguments.seq_len > 0 ? arguments.seq_len : context;
}

// "42 %  loss 3.1416  1.802 bits/byte  12,345 tokens/s".
class ScoreLine {
 public:
  void show(double share, const Score& score) {
    const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
    line_.show(fmt::format("{:3.0f} %  loss {:.4f}  {:.3f} bits/byte  {} tokens/s", 100 * share, score.loss(),
                           score.bits_per_byte(),
                           grouped(static_cast<int64_t>(static_cast<double>(score.tokens) / seconds))));
  }

 private:
  using Clock = std::chrono::steady_clock;
  StandingLine line_;
  Clock::time_point began_ = Clock::now();
};

bool is_corpus(const std::vector<std::string>& data) {
  return data.size() == 1 && std::filesystem::exists(data[0] + "/manifest.json");
}

Score evaluate_corpus(const std::string& directory, Evaluator& evaluator, const Tokenizer& tokenizer, int64_t seq_len) {
  const Corpus corpus = open_corpus(directory);
  if (corpus.tokenizer.hash() != tokenizer.hash()) {
    user_error("{} was made with another tokenizer than the model's; give --data the text it was made from", directory);
  }
  const ValidationWindows windows(corpus.validation, seq_len);
  ScoreLine line;
  int64_t index = 0;
  const auto next = [&](Window& window) {
    if (index == windows.windows()) return false;
    windows.read(index++, window);
    return true;
  };
  return evaluator.evaluate(next, tokenizer, [&](const Score& score) {
    line.show(static_cast<double>(index) / static_cast<double>(windows.windows()), score);
  });
}

Score evaluate_text(const std::vector<std::string>& paths, Evaluator& evaluator, const Tokenizer& tokenizer,
                    int64_t seq_len) {
  TextWindows text(find_sources(paths), tokenizer, seq_len);
  ScoreLine line;
  const auto total = static_cast<double>(std::max<int64_t>(text.bytes_total(), 1));
  return evaluator.evaluate(
      [&](Window& window) { return text.next(window); }, tokenizer,
      [&](const Score& score) { line.show(static_cast<double>(text.bytes_read()) / total, score); });
}

std::string in_json(const Score& score) {
  const nlohmann::ordered_json j = {{"loss", score.loss()},
                                    {"bits_per_byte", score.bits_per_byte()},
                                    {"tokens", score.tokens},
                                    {"bytes", score.bytes}};
  return json_text(j) + "\n";
}

std::string in_words(const Score& score) {
  return fmt::format("loss {:.4f} nats/token, {:.4f} bits/byte, {} tokens, {} bytes\n", score.loss(),
                     score.bits_per_byte(), grouped(score.tokens), grouped(score.bytes));
}

void eval(const EvalArguments& arguments) {
  const ModelDirectory model = open_model(model_path(arguments.directory));
  const Tokenizer tokenizer = open_tokenizer(model);
  const int64_t seq_len = resolved_seq_len(arguments, model);
  const int64_t batch = arguments.batch > 0 ? arguments.batch : std::max<int64_t>(1, kBatchTokens / seq_len);
  const OpTable ops = all_ops();
  Evaluator evaluator(ops, model, {.worker = worker_on(arguments.device), .batch = batch, .seq_len = seq_len});
  const Score score = is_corpus(arguments.data) ? evaluate_corpus(arguments.data[0], evaluator, tokenizer, seq_len)
                                                : evaluate_text(arguments.data, evaluator, tokenizer, seq_len);
  const std::string text = arguments.json ? in_json(score) : in_words(score);
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) io_error("write", "the standard output");
}

}  // namespace

Registered register_eval(CLI::App& app) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "Measure how well a model predicts a text");
  command->add_option("DIR", arguments->directory, kModelArgumentHelp)->required();
  command
      ->add_option("--data", arguments->data,
                   "Text or .jsonl files (.gz, .zst too) or directories of them; or a data directory, whose validation "
                   "split is read")
      ->required();
  command->add_option("--batch", arguments->batch, "Windows computed at a time; 0: as many as hold 4096 tokens")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--seq-len", arguments->seq_len, "Tokens a window holds; 0: the model's context")
      ->check(CLI::Range(0, INT32_MAX))
      ->capture_default_str();
  add_device_options(*command, arguments->device);
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->footer(
      "Every token but the first is predicted once, from those before it in its window and document. Bits per byte\n"
      "count the bytes of the predicted tokens and are comparable between tokenizers; <|endoftext|> has no bytes.");
  return {command, [arguments] { eval(*arguments); }};
}

}  // namespace centavo
