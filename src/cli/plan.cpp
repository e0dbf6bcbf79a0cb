// centavo plan RUN.toml [key=value …] [--json] [--trace FILE] [--profile FILE] [--ranks N]

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/local_ranks.h"
#include "cli/profile_place.h"
#include "machine/virtual/trace.h"
#include "ops/all.h"
#include "program/verify.h"
#include "train/fit.h"
#include "train/forecast.h"
#include "train/forecast_text.h"
#include "train/plan_text.h"

namespace centavo {
namespace {

struct PlanArguments {
  std::string path;
  std::vector<std::string> overrides;
  std::string profile;
  std::string trace;
  int64_t ranks = 1;
  bool json = false;
};

// The profile that was named; else that of this machine where there is one.
MachineCosts costs_for(const OpTable& ops, const PlanArguments& arguments, const Worker& worker) {
  if (!arguments.profile.empty()) return measured_costs(ops, arguments.profile, worker.device);
  const std::string file = profile_place(worker.device);
  if (!file.empty() && std::filesystem::exists(file)) return costs_on_record(ops, file, worker.device);
  return prior_costs(ops, worker);
}

// Programs are for the GPU that the costs are of, which need not be here.
Worker worker_for(Worker worker, const Profile& profile) {
  if (worker.device == DeviceKind::cpu) return worker;
  worker.gpu.architecture = profile.architecture;
  worker.gpu.multiprocessors = profile.multiprocessors;
  worker.gpu_name = profile.machine;
  return worker;
}

void print_lines(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) fmt::print("{}\n", line);
}

void print_plan(const OpTable& ops, const RunConfig& config, const Worker& worker, const Techniques& techniques,
                const Program& training) {
  print_lines(plan_lines(config, training, worker));
  const std::string table = techniques_table(ops, config, worker, techniques);
  if (!table.empty()) fmt::print("techniques{}\n", table);
  fmt::print("work       {:.3g} FLOP a step\n", run_step_flops(ops, config));
}

// Data is not looked at: the run file says all that the step depends on.
void plan(const PlanArguments& arguments) {
  const OpTable ops = all_ops();
  const RunConfig config = parse_run_config(arguments.path, arguments.overrides);
  require_work_for(config, arguments.ranks);
  const Worker here = worker_here(config, arguments.ranks);
  const MachineCosts costs = costs_for(ops, arguments, here);
  const Worker worker = worker_for(here, costs.costs->profile());
  const Techniques techniques = fit(ops, config, worker);
  const Program training = training_program(ops, config, worker, techniques);
  verify(training, ops);
  const Forecast forecast = centavo::forecast(ops, config, worker, training, costs.source);
  if (arguments.json) {
    fmt::print("{}\n", json_text(forecast_json(ops, config, worker, training, forecast, costs.source), 2));
  } else {
    print_plan(ops, config, worker, techniques, training);
    print_lines(forecast_lines(forecast, costs.source));
  }
  if (!arguments.trace.empty()) {
    write_trace(arguments.trace, forecast.spans, forecast.program, ops, {0, "rank 0, predicted"});
  }
}

}  // namespace

Registered register_plan(CLI::App& app) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = app.add_subcommand("plan", "Say what a run will need and take, without running it");
  command->add_option("RUN.toml", arguments->path, "The run file; its data need not be there")->required();
  command->add_option("key=value", arguments->overrides, "Keys that override the run file's, such as micro_batch=4");
  command->add_flag("--json", arguments->json, "Print one JSON object instead of a table");
  command->add_option("--trace", arguments->trace, "Write the predicted step as a timeline for ui.perfetto.dev")
      ->type_name("FILE");
  command
      ->add_option("--profile", arguments->profile,
                   "What a machine can do, as `centavo bench` wrote it; without: that of this machine")
      ->type_name("FILE");
  command->add_option("--ranks", arguments->ranks, "As on one of N ranks that share this computer")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, kMostLocalRanks));
  command->footer(
      "The profile of this machine is $XDG_CACHE_HOME/centavo/profile.json, or ~/.cache/centavo/profile.json, and of "
      "its\n"
      "GPU profile-cuda.json beside it; without one times are priors from what the processor or the GPU is, and "
      "marked\n"
      "as such. With the profile of another GPU and device=cuda no GPU need be here.\n"
      "The keys of --json stand in src/train/forecast_text.h, those of a run file in centavo train --help.");
  return {command, [arguments] { plan(*arguments); }};
}

}  // namespace centavo
