// centavo report RUN

#include <cstdio>
#include <memory>
#include <string>

#include "base/errors.h"
#include "cli/commands.h"
#include "train/report.h"

namespace centavo {
namespace {

void report(const std::string& run_dir) {
  const std::string path = write_report(run_dir);
  if (std::printf("%s\n", path.c_str()) < 0 || std::fflush(stdout) != 0) io_error("write", "the standard output");
}

}  // namespace

Registered register_report(CLI::App& app) {
  auto run_dir = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("report", "Write a run's page for people, report.html");
  command->add_option("RUN", *run_dir, "The run's directory, with its metrics.jsonl")->required();
  command->footer("The page is made from metrics.jsonl alone, loads nothing, and can be made while the run trains.");
  return {command, [run_dir] { report(*run_dir); }};
}

}  // namespace centavo
