// centavo train RUN.toml [key=value …]

#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "ops/all.h"
#include "train/trainer.h"

namespace centavo {
namespace {

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  bool resume = false;
  bool quiet = false;
};

void train(const Arguments& arguments) {
  const RunConfig config = parse_run_config(arguments.config, arguments.overrides);
  if (config.text.empty()) user_error("no text to train on; add text=FILE");
  const OpTable ops = all_ops();
  TrainOptions options;
  options.resume = arguments.resume;
  options.log = arguments.quiet ? nullptr : stdout;
  options.live = !arguments.quiet && isatty(STDOUT_FILENO) != 0;
  Trainer(ops, config, options).run();
}

}  // namespace

Registered register_train(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("train", "Train a model as a run file says");
  command->add_option("RUN.toml", arguments->config, "The run file")->required();
  command->add_option("key=value", arguments->overrides, "Keys that override the run file's, such as max_steps=100");
  command->add_flag("--resume", arguments->resume, "Continue from the newest checkpoint in the run's directory");
  command->add_flag("--quiet", arguments->quiet, "Print nothing but errors");
  command->footer("Keys of a run file:\n" + run_config_help());
  return {command, [arguments] { train(*arguments); }};
}

}  // namespace centavo
