// centavo generate DIR [--prompt TEXT] [options]

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "base/errors.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/device_argument.h"
#include "cli/model_argument.h"
#include "ops/all.h"
#include "train/generate.h"

namespace centavo {
namespace {

struct GenerateArguments {
  std::string directory;
  std::string prompt;
  GenerationSettings settings;
  DeviceArgument device;
};

void write_out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    io_error("write", "the standard output");
  }
}

const char* in_words(Stop stop) {
  switch (stop) {
    case Stop::max_tokens: return "--max-tokens reached";
    case Stop::end_of_text: return "end of text";
    case Stop::context: return "the model's context is full";
  }
  return "";
}

void generate(const GenerateArguments& arguments) {
  const GenerationSettings& settings = arguments.settings;
  require_valid(settings.draw);
  const ModelDirectory model = open_model(model_path(arguments.directory));
  const Tokenizer tokenizer = open_tokenizer(model);
  const int64_t context = model.config.model.max_position_embeddings;
  const std::vector<int32_t> prompt = prompt_tokens(tokenizer, arguments.prompt, context);
  const int64_t room = context - static_cast<int64_t>(prompt.size());
  const int64_t max_len = static_cast<int64_t>(prompt.size()) + std::min(room, settings.max_tokens);
  const OpTable ops = all_ops();
  Generator generator(ops, model, {.worker = worker_on(arguments.device), .max_len = max_len});

  const bool terminal = isatty(STDOUT_FILENO) != 0;
  const auto started = std::chrono::steady_clock::now();
  const GeneratedText text =
      generate_text(generator, tokenizer, drawable(tokenizer, model.config), prompt, settings,
                    [&](std::string_view piece) { write_out(terminal ? printable(piece) : std::string(piece)); });
  write_out("\n");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "{} tokens after {} of the prompt, {:.1f} tokens/s; {}\n", text.tokens, prompt.size(),
             static_cast<double>(text.tokens) / seconds.count(), in_words(text.stop));
}

}  // namespace

Registered register_generate(CLI::App& app) {
  auto arguments = std::make_shared<GenerateArguments>();
  GenerationSettings& settings = arguments->settings;
  CLI::App* command = app.add_subcommand("generate", "Continue a text with a trained model");
  command->add_option("DIR", arguments->directory, kModelArgumentHelp)->required();
  command->add_option("--prompt", arguments->prompt, "The text to continue; without one a document is begun");
  command->add_option("--max-tokens", settings.max_tokens, "Stop after so many tokens")
      ->check(CLI::Range(int64_t{0}, int64_t{INT32_MAX}))
      ->capture_default_str();
  command->add_option("--temperature", settings.draw.temperature, "Divides the logits; 0 takes the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", settings.draw.top_k, "Draw among the K likeliest tokens; 0: all")
      ->capture_default_str();
  command->add_option("--top-p", settings.draw.top_p, "Draw among the likeliest tokens that together have share P")
      ->capture_default_str();
  command->add_option("--seed", settings.seed, "Fixes what is drawn: same seed, same text")->capture_default_str();
  add_device_options(*command, arguments->device);
  command->footer(
      "The text goes to the standard output as it is drawn, and a line end behind it. Bytes that are no UTF-8 become\n"
      "U+FFFD; on a terminal control characters are shown as \\x1b. It ends with the tokenizer's <|endoftext|>, at\n"
      "--max-tokens, or with the model's context (max_position_embeddings). bf16 weights run in bf16, others in fp32.");
  return {command, [arguments] { generate(*arguments); }};
}

}  // namespace centavo
