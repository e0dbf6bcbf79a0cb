// centavo export RUN DIR [--tokenizer FILE]

#include <cstdio>
#include <memory>
#include <string>

#include "base/errors.h"
#include "cli/commands.h"
#include "train/export_checkpoint.h"

namespace centavo {
namespace {

struct ExportArguments {
  std::string from;
  std::string directory;
  std::string tokenizer;
};

void export_run(const ExportArguments& arguments) {
  const ExportedCheckpoint done = export_checkpoint(arguments.from, arguments.tokenizer, arguments.directory);
  const std::string line = fmt::format("{}: step {} of {}\n", arguments.directory, done.step, done.checkpoint);
  if (std::fputs(line.c_str(), stdout) < 0 || std::fflush(stdout) != 0) io_error("write", "the standard output");
}

}  // namespace

Registered register_export(CLI::App& app) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command = app.add_subcommand("export", "Write a checkpoint's model as a Hugging Face directory");
  command->add_option("RUN", arguments->from, "A run's directory (its newest checkpoint), or a checkpoint's")
      ->required();
  command->add_option("DIR", arguments->directory, "The directory to write; an earlier export there is replaced")
      ->required();
  command->add_option("--tokenizer", arguments->tokenizer,
                      "The tokenizer.json of the training; by default RUN/data/tokenizer.json");
  command->footer(
      "DIR gets config.json, model.safetensors, tokenizer.json and what else transformers loads. Weights keep the "
      "dtype\n"
      "that the training computed in: bf16 runs give bf16 weights,\n"
      "and those of norms, which train in fp32, are rounded to it.");
  return {command, [arguments] { export_run(*arguments); }};
}

}  // namespace centavo
