// centavo bench [--device cpu|cuda|auto] [--out FILE] [--quick] [--threads N]
// centavo bench --run RUN.toml [key=value …] [--out FILE] [--quick] [--threads N]
// centavo bench --op NAME [key=value …]
// centavo bench --list

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/files.h"
#include "base/host.h"
#include "base/nearest.h"
#include "cli/commands.h"
#include "cli/device_argument.h"
#include "cli/profile_place.h"
#include "cli/standing_line.h"
#include "ops/all.h"
#include "plan/calibrate.h"
#include "plan/ceilings.h"
#include "plan/op_times.h"
#include "plan/profile_table.h"
#include "train/step_program.h"
#include "train/units.h"
#include "train/version.h"

namespace centavo {
namespace {

struct BenchArguments {
  std::string out;
  std::string op;
  std::string run;
  std::vector<std::string> overrides;
  DeviceArgument on;
  bool quick = false;
  bool list = false;
};

// The profile's file, its directory made.
std::string profile_path(const BenchArguments& arguments, DeviceKind device) {
  std::string file = arguments.out.empty() ? profile_place(device) : arguments.out;
  if (file.empty()) user_error("neither XDG_CACHE_HOME nor HOME is set; name the file with --out FILE");
  make_directories(parent_directory(file));
  return file;
}

std::string now_text() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return iso_date_text(std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

void print_out(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    io_error("write", "the standard output");
  }
}

// One line that is written over on a terminal, a line a part elsewhere.
void show_progress(int64_t part, int64_t parts, const std::string& what) {
  static StandingLine standing;
  const std::string line = fmt::format("[{}/{}] {}", part + 1, parts, what);
  standing.show(line);
  if (part + 1 == parts) standing.clear();
  if (!standing.is_terminal()) fmt::print(stderr, "{}\n", line);
}

// Half of what is there: the machine has other things to do. A GPU has not.
int64_t memory_for_probes(DeviceKind device) {
  if (device == DeviceKind::cuda) return available_bytes(device) / 20 * 19;
  const MemoryFacts memory = memory_facts();
  return std::min(memory.available_bytes, memory.limit_bytes.value_or(memory.available_bytes)) / 2;
}

Calibration calibration_on(const Worker& worker, const BenchArguments& arguments, const std::string& profile) {
  Calibration calibration;
  calibration.ladder = arguments.quick ? Ladder::quick : Ladder::full;
  calibration.worker = worker;
  calibration.disk_directory = parent_directory(profile);
  calibration.memory_bytes = memory_for_probes(worker.device);
  calibration.progress = show_progress;
  return calibration;
}

void stamp(Profile& profile) {
  profile.commit = kCommit;
  profile.date = now_text();
}

void write_and_print(const Profile& profile, const std::string& file) {
  write_profile(profile, file);
  print_out(profile_table(profile) + fmt::format("\n{}\n", file));
}

void measure_machine(const BenchArguments& arguments) {
  const Worker worker = worker_on(arguments.on);
  const std::string file = profile_path(arguments, worker.device);
  Profile profile = calibrate(all_ops(), calibration_on(worker, arguments, file));
  stamp(profile);
  write_and_print(profile, file);
}

// The keys of a run say what computes; --threads goes before its `threads`.
Worker worker_of(const RunConfig& config, const BenchArguments& arguments) {
  DeviceArgument on;
  on.device = config.device;
  on.threads = arguments.on.threads > 0 ? arguments.on.threads : config.threads;
  Worker worker = worker_on(on);
  worker.gpu.deterministic = config.deterministic;
  return worker;
}

// The profile that is there. Samples of another machine would speak for this one.
Profile profile_so_far(const Worker& worker, const std::string& file) {
  Profile profile = read_profile_of(worker.device, file);
  const Profile here = profile_of_device(worker);
  if (profile.machine != here.machine) {
    user_error("{} is the profile of {} and this is {}; name another file with --out FILE", file, profile.machine,
               here.machine);
  }
  if (worker.device == DeviceKind::cpu && profile.threads != here.threads) {
    user_error(
        "{} is of {} threads and the run computes with {}; add --threads {} or name another file with --out FILE", file,
        profile.threads, here.threads, profile.threads);
  }
  return profile;
}

// Into the profile that is there, or into a new one.
void measure_run(const BenchArguments& arguments) {
  const OpTable ops = all_ops();
  const RunConfig config = parse_run_config(arguments.run, arguments.overrides);
  const Worker worker = worker_of(config, arguments);
  const std::string file = profile_path(arguments, worker.device);
  const Calibration calibration = calibration_on(worker, arguments, file);
  const bool there = std::filesystem::exists(file);
  Profile profile = there ? profile_so_far(worker, file) : measure_ceilings(ops, calibration);
  calibrate_run(ops, config, calibration, profile);
  if (there) {
    profile.runs.push_back({kCommit, now_text()});
  } else {
    stamp(profile);
  }
  write_and_print(profile, file);
}

// A small model whose ops are timed when the overrides do not say otherwise.
constexpr const char* kDefaultRun = R"(
seq_len = 256
micro_batch = 4
max_steps = 1000
learning_rate = 1e-4
[model]
vocab_size = 4096
hidden_size = 256
intermediate_size = 688
num_hidden_layers = 1
num_attention_heads = 4
)";

constexpr TimingEffort kEffort = {.least_steps = 10, .most_steps = 200, .seconds = 5, .warm_up_seconds = 0.5};

std::vector<std::string> op_names(const OpTable& ops) {
  std::vector<std::string> names;
  for (const OpDef& def : ops.rows()) names.emplace_back(def.kind);
  std::ranges::sort(names);
  return names;
}

bool calls(const Program& program, const std::string& kind) {
  return std::ranges::any_of(program.sections, [&](const Section& section) {
    return std::ranges::any_of(section.ops, [&](const Op& op) { return op.kind == kind; });
  });
}

void measure_op(const BenchArguments& arguments) {
  const OpTable ops = all_ops();
  if (ops.find(arguments.op) == nullptr) {
    user_error("there is no op '{}'{}; centavo bench --list names them all", arguments.op,
               did_you_mean(arguments.op, op_names(ops)));
  }
  const RunConfig config = parse_run_config_text(kDefaultRun, "bench.toml", arguments.overrides);
  const Worker worker = worker_of(config, arguments);
  Program program = probe_program(ops, config, worker, memory_for_probes(worker.device));
  if (!calls(program, arguments.op)) {
    user_error("the training program of this run calls no {}; ask for another op or run", arguments.op);
  }
  OpTimes times(typical_on(worker.device));
  time_ops(ops, std::move(program), config, worker, kEffort, times);
  Profile profile;
  profile.samples = times.samples();
  add_ceilings(ops, worker, profile);
  print_out(op_table_text(profile, arguments.op));
}

void list_ops() {
  for (const std::string& name : op_names(all_ops())) print_out(name + "\n");
}

void bench(const BenchArguments& arguments) {
  if (arguments.op.empty() && arguments.run.empty() && !arguments.overrides.empty()) {
    user_error("'{}' says what an op is timed in; name the op with --op NAME or the run with --run RUN.toml",
               arguments.overrides[0]);
  }
  if (arguments.list) return list_ops();
  if (!arguments.run.empty()) return measure_run(arguments);
  if (!arguments.op.empty()) return measure_op(arguments);
  measure_machine(arguments);
}

}  // namespace

Registered register_bench(CLI::App& app) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure what this machine or its GPU can do, and how near its ops come");
  add_device_options(*command, arguments->on);
  command->add_option(
      "--out", arguments->out,
      "The profile's file; without it profile.json, or profile-cuda.json of a GPU, in ~/.cache/centavo");
  command->add_flag("--quick", arguments->quick, "Seconds instead of minutes, for rougher predictions");
  command
      ->add_option(
          "--run", arguments->run,
          "Time the ops of this run alone, in 10 to 50 seconds, and put them into the profile, so that its plan "
          "rests on them")
      ->type_name("RUN.toml")
      ->excludes("--device");
  command->add_option("--op", arguments->op, "Time this op alone, in a training step of the run that the keys describe")
      ->excludes("--out")
      ->excludes("--quick")
      ->excludes("--device")
      ->excludes("--run");
  command->add_option(
      "key=value", arguments->overrides,
      "With --run or --op: keys of a run file, such as model.hidden_size=512 precision=bf16 device=cpu");
  command->add_flag("--list", arguments->list, "List the names of the ops");
  command->footer(
      "Nothing else should compute meanwhile. The profile is what centavo predicts times on this machine from.");
  return {command, [arguments] { bench(*arguments); }};
}

}  // namespace centavo
