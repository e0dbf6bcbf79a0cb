// centavo program RUN.toml [key=value …] [--after PASS]
// centavo program FILE.program

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "cli/commands.h"
#include "machine/cpu/cpu_machine.h"
#include "ops/all.h"
#include "program/text.h"
#include "program/verify.h"
#include "train/step_program.h"

namespace centavo {
namespace {

struct ProgramArguments {
  std::string file;
  std::vector<std::string> overrides;
  std::string after = "place";
  int64_t ranks = 1;
  int64_t rank = 0;
};

Program read_program(const std::string& path, const OpTable& ops) {
  const std::string text = read_file(path);
  try {
    Program program = parse(text);
    verify(program, ops);
    return program;
  } catch (const UserError& error) {
    user_error("{}: {}", path, error.what());
  }
}

Program build_program(const ProgramArguments& arguments, const OpTable& ops) {
  if (arguments.ranks < 1 || arguments.rank < 0 || arguments.rank >= arguments.ranks) {
    user_error("rank {} of {} ranks is none; ranks are numbered from 0", arguments.rank, arguments.ranks);
  }
  const RunConfig config = parse_run_config(arguments.file, arguments.overrides);
  Worker worker(CpuMachine::thread_count(0), Mesh{1, arguments.ranks}, arguments.rank);
  worker.use(config.device, config.deterministic);
  Program program = training_program(ops, config, worker, arguments.after);
  verify(program, ops);
  return program;
}

void program(const ProgramArguments& arguments, bool gave_after) {
  const OpTable ops = all_ops();
  const bool is_text = arguments.file.ends_with(".program");
  if (is_text && (gave_after || !arguments.overrides.empty())) {
    user_error("{} is a program text, to which no keys and no passes apply; leave out {} or name a run file",
               arguments.file, gave_after ? "--after" : arguments.overrides[0]);
  }
  const std::string text = print(is_text ? read_program(arguments.file, ops) : build_program(arguments, ops));
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    io_error("write", "the standard output");
  }
}

}  // namespace

Registered register_program(CLI::App& app) {
  auto arguments = std::make_shared<ProgramArguments>();
  CLI::App* command = app.add_subcommand("program", "Print the program of a training step");
  command->add_option("FILE", arguments->file, "A run file, or a program text (FILE.program) to check and print")
      ->required();
  command->add_option("key=value", arguments->overrides, "Keys that override the run file's");
  const CLI::Option* after = command->add_option(
      "--after", arguments->after, fmt::format("Stop after this pass: {}", fmt::join(pass_names(), ", ")));
  command->add_option("--ranks", arguments->ranks, "As on one of so many ranks");
  command->add_option("--rank", arguments->rank, "Which of them, from 0");
  return {command, [arguments, after] { program(*arguments, after->count() > 0); }};
}

}  // namespace centavo
