// centavo train RUN.toml [key=value …] [--ranks N …] [--trace FILE]
// centavo resume DIR [max_steps=N] [memory=…] … [--ranks N …] [--trace FILE]
//
// Both also run as ranks: mpirun -n N centavo train RUN.toml.

#include <unistd.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/files.h"
#include "cli/commands.h"
#include "cli/local_ranks.h"
#include "cli/profile_place.h"
#include "cli/rank_root.h"
#include "cli/shell_words.h"
#include "cli/stop_signals.h"
#include "ops/all.h"
#include "train/plan_text.h"
#include "train/trainer.h"

namespace centavo {
namespace {

using Start = TrainOptions::Start;

struct TrainArguments {
  std::string path;  // the run file, or the directory to resume
  std::vector<std::string> overrides;
  bool resume = false;
  bool quiet = false;
  bool dry_run = false;
  bool debug = false;
  std::string trace;
  int64_t trace_step = TrainOptions().trace_step;
  LocalRanks local;
};

// mpirun gives its ranks pseudo-terminals or pipes, whatever it writes to itself.
ProgressLog::Kind progress_kind(const TrainArguments& arguments, const Communicator& communicator) {
  const bool terminal = communicator.ranks() == 1 && arguments.local.launch.empty() && ::isatty(STDOUT_FILENO) != 0;
  return terminal || arguments.local.live_progress ? ProgressLog::Kind::live : ProgressLog::Kind::lines;
}

TrainOptions options_of(const TrainArguments& arguments, Start start, const Communicator& communicator) {
  TrainOptions options;
  options.start = start;
  options.log = arguments.quiet || communicator.rank() > 0 ? nullptr : stdout;
  options.progress = progress_kind(arguments, communicator);
  options.stop = stop_requested;
  options.trace = arguments.trace;
  options.trace_step = arguments.trace_step;
  options.debug = arguments.debug;
  options.tuning_directory = cache_place();
  return options;
}

// The words that say how steps are looked at, as they were given.
std::vector<std::string> step_words(const TrainArguments& arguments) {
  std::vector<std::string> words;
  if (arguments.debug) words.emplace_back("--debug");
  if (arguments.trace.empty()) return words;
  words.insert(words.end(), {"--trace", arguments.trace, "--trace-step", std::to_string(arguments.trace_step)});
  return words;
}

void require_traceable(const TrainArguments& arguments) {
  if (arguments.trace.empty()) return;
  if (arguments.debug) {
    user_error("--trace shows a step as it runs and --debug runs it op by op; leave one of them out");
  }
  const std::string directory = parent_directory(arguments.trace);
  if (std::filesystem::is_directory(directory)) return;
  user_error("--trace {}: there is no directory {}; make it or name another file", arguments.trace, directory);
}

// Lets the run be predicted where this machine has a profile. `costs` keeps what `options` then points to. A profile
// that is damaged stops no run.
void predict(const OpTable& ops, DeviceKind device, std::optional<MachineCosts>& costs, TrainOptions& options) {
  const std::string file = profile_place(device);
  if (file.empty() || !std::filesystem::exists(file)) {
    options.why_unpredicted = "nothing, this machine has not been measured; `centavo bench` does it";
    return;
  }
  try {
    costs.emplace(costs_on_record(ops, file, device));
    options.costs = &costs->source;
  } catch (const std::runtime_error& error) {
    options.why_unpredicted = fmt::format("nothing, {}", error.what());
  }
}

// The words of a command without those of the ranks: the record of a run, and what each rank is started with.
std::vector<std::string> words_of(const std::string& command, const TrainArguments& arguments) {
  std::vector<std::string> words = {command, arguments.path};
  words.insert(words.end(), arguments.overrides.begin(), arguments.overrides.end());
  if (arguments.resume) words.emplace_back("--resume");
  const std::vector<std::string> step = step_words(arguments);
  words.insert(words.end(), step.begin(), step.end());
  return words;
}

std::string typed(const std::string& command, const TrainArguments& arguments, int64_t ranks) {
  std::vector<std::string> words = words_of(command, arguments);
  words.insert(words.begin(), "centavo");
  if (ranks > 1) words.insert(words.end(), {"--ranks", std::to_string(ranks)});
  return shell_words(words);
}

// As the parent of local ranks, or as one rank.
void run(const std::string& command, const TrainArguments& arguments, const RunConfig& config, Start start) {
  require_traceable(arguments);
  if (starts_ranks(arguments.local)) {
    choose_device(config.device, arguments.local.ranks);  // what each rank would refuse
    std::vector<std::string> words = words_of(command, arguments);
    if (arguments.quiet) words.emplace_back("--quiet");
    const bool fresh = start == Start::fresh;
    const std::vector<std::string> step = step_words(arguments);
    std::vector<std::string> again = fresh ? std::vector<std::string>{"resume", config.out} : words;
    if (fresh && arguments.quiet) again.emplace_back("--quiet");
    if (fresh) again.insert(again.end(), step.begin(), step.end());
    start_ranks(arguments.local, config.out, words, again);
    return;
  }
  as_rank({config.out, arguments.local.launch}, [&](Communicator& communicator, RankStatus& status) {
    TrainOptions options = options_of(arguments, start, communicator);
    options.command = typed(command, arguments, communicator.ranks());
    options.world = &communicator;
    options.status = &status;
    const OpTable ops = all_ops();
    std::optional<MachineCosts> costs;
    const DeviceKind device = choose_device(config.device, communicator.ranks()).device;
    if (communicator.rank() == 0) predict(ops, device, costs, options);
    Trainer trainer(ops, config, options);
    catch_stop_signals();  // until here nothing is lost by ending at once
    status.state(RankState::training);
    trainer.run();
  });
}

void train(const TrainArguments& arguments) {
  ignore_write_signals();
  const RunConfig config = parse_run_config(arguments.path, arguments.overrides);
  if (config.text.empty() && config.data.empty()) user_error("no text to train on; add text=PATH or data=DIR");
  if (arguments.dry_run) {
    for (const std::string& line : dry_run(all_ops(), config, std::max<int64_t>(1, arguments.local.ranks))) {
      fmt::print("{}\n", line);
    }
    return;
  }
  run("train", arguments, config, arguments.resume ? Start::resume : Start::fresh);
}

// The run's own configuration; what is learnt stands.
void resume(const TrainArguments& arguments) {
  ignore_write_signals();
  const std::string path = arguments.path + "/config.toml";
  std::error_code unreadable;
  if (!std::filesystem::exists(path, unreadable)) {
    user_error("there is no {}; name the directory of a run that has begun, such as runs/mine", path);
  }
  for (const std::string& text : arguments.overrides) {
    const std::string key = text.substr(0, text.find('='));
    if (std::ranges::count(keys_free_on_resume(), key) == 0) {
      user_error("override '{}': a resumed run may change {} alone; leave it out", text,
                 fmt::join(keys_free_on_resume(), ", "));
    }
  }
  std::vector<std::string> overrides = arguments.overrides;
  overrides.push_back("out=" + arguments.path);  // the directory may have been moved
  run("resume", arguments, parse_run_config(path, overrides), Start::resume_or_fresh);
}

void add_step_options(CLI::App& command, TrainArguments& arguments) {
  command.add_flag("--debug", arguments.debug,
                   "Run op by op, check the memory each op touches and that its values are finite; slow");
  command
      .add_option("--trace", arguments.trace,
                  "Write the timeline of one step, for ui.perfetto.dev; of several ranks each writes its own")
      ->type_name("FILE");
  command.add_option("--trace-step", arguments.trace_step, "Which step, from 1 at this start")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

}  // namespace

Registered register_train(CLI::App& app) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = app.add_subcommand("train", "Train a model as a run file says");
  command->add_option("RUN.toml", arguments->path, "The run file")->required();
  command->add_option("key=value", arguments->overrides, "Keys that override the run file's, such as max_steps=100");
  command->add_flag("--resume", arguments->resume, "Continue from the newest checkpoint in the run's directory");
  command->add_flag("--dry-run", arguments->dry_run, "Print the plan (model, step, memory, data) and write nothing");
  command->add_flag("--quiet", arguments->quiet, "Print nothing but errors");
  add_step_options(*command, *arguments);
  add_rank_options(*command, arguments->local);
  command->footer(
      "Ctrl-C (also SIGTERM, SIGHUP) ends the run after its step with everything saved; centavo resume goes on.\n\n"
      "Keys of a run file:\n" +
      run_config_help());
  return {command, [arguments] { train(*arguments); }};
}

Registered register_resume(CLI::App& app) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = app.add_subcommand("resume", "Continue a run from its newest whole checkpoint");
  command->add_option("DIR", arguments->path, "The run's directory")->required();
  command->add_option("key=value", arguments->overrides,
                      fmt::format("Another end, or how the rest is computed: {}; all else stays as it was",
                                  fmt::join(keys_free_on_resume(), ", ")));
  command->add_flag("--quiet", arguments->quiet, "Print nothing but errors");
  add_step_options(*command, *arguments);
  add_rank_options(*command, arguments->local);
  return {command, [arguments] { resume(*arguments); }};
}

}  // namespace centavo
