// centavo bench [--out FILE] [--quick] [--threads N]
// centavo bench --op NAME [key=value …]
// centavo bench --list

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/files.h"
#include "base/host.h"
#include "base/nearest.h"
#include "cli/commands.h"
#include "cli/profile_place.h"
#include "machine/cpu/cpu_machine.h"
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

struct Arguments {
  std::string out;
  std::string op;
  std::vector<std::string> overrides;
  int64_t threads = 0;
  bool quick = false;
  bool list = false;
};

std::string default_profile_path() {
  const std::string file = profile_place();
  if (file.empty()) user_error("neither XDG_CACHE_HOME nor HOME is set; name the file with --out FILE");
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
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const std::string line = fmt::format("[{}/{}] {}", part + 1, parts, what);
  std::fputs((terminal ? "\r\033[K" + line : line + "\n").c_str(), stderr);
  if (terminal && part + 1 == parts) std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

// Half of what is there: the machine has other things to do.
int64_t memory_for_probes() {
  const MemoryFacts memory = memory_facts();
  return std::min(memory.available_bytes, memory.limit_bytes.value_or(memory.available_bytes)) / 2;
}

void measure_machine(const Arguments& arguments) {
  const std::string out = arguments.out.empty() ? default_profile_path() : arguments.out;
  make_directories(parent_directory(out));
  Profile profile = calibrate(all_ops(), {.ladder = arguments.quick ? Ladder::quick : Ladder::full,
                                          .threads = CpuMachine::thread_count(arguments.threads),
                                          .disk_directory = parent_directory(out),
                                          .memory_bytes = memory_for_probes(),
                                          .progress = show_progress});
  const CpuFacts cpu = cpu_facts();
  profile.machine = cpu.model.empty() ? "unknown" : cpu.model;
  profile.features = fmt::format("{}", fmt::join(cpu.features, " "));
  profile.commit = kCommit;
  profile.date = now_text();
  write_profile(profile, out);
  print_out(profile_table(profile) + fmt::format("\n{}\n", out));
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

constexpr TimingEffort kEffort = {.least_steps = 10, .most_steps = 200, .seconds = 5};

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

void measure_op(const Arguments& arguments) {
  const OpTable ops = all_ops();
  if (ops.find(arguments.op) == nullptr) {
    user_error("there is no op '{}'{}; centavo bench --list names them all", arguments.op,
               did_you_mean(arguments.op, op_names(ops)));
  }
  const RunConfig config = parse_run_config_text(kDefaultRun, "bench.toml", arguments.overrides);
  const int threads = CpuMachine::thread_count(arguments.threads > 0 ? arguments.threads : config.threads);
  if (!calls(training_program(ops, config, Worker(threads)), arguments.op)) {
    user_error("the training program of this run calls no {}; ask for another op or run", arguments.op);
  }
  OpTimes times;
  time_ops(ops, config, threads, memory_for_probes(), kEffort, times);
  Profile profile;
  profile.samples = times.samples();
  profile.copy_bytes_per_second = measured_copy_rate(threads);
  profile.product_flops = measured_product_rates(threads);
  print_out(op_table_text(profile, arguments.op));
}

void list_ops() {
  for (const std::string& name : op_names(all_ops())) print_out(name + "\n");
}

void bench(const Arguments& arguments) {
  if (arguments.op.empty() && !arguments.overrides.empty()) {
    user_error("'{}' says what an op is timed in; name the op with --op NAME", arguments.overrides[0]);
  }
  if (arguments.list) return list_ops();
  if (!arguments.op.empty()) return measure_op(arguments);
  measure_machine(arguments);
}

}  // namespace

Registered register_bench(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("bench", "Measure what this machine can do, and how near its ops come");
  command->add_option("--out", arguments->out, "The profile's file; without it ~/.cache/centavo/profile.json");
  command->add_flag("--quick", arguments->quick, "Twenty seconds instead of minutes, for rougher predictions");
  command->add_option("--threads", arguments->threads, "Threads to compute with; 0: all the process may use");
  command->add_option("--op", arguments->op, "Time this op alone, in a training step of the run that the keys describe")
      ->excludes("--out")
      ->excludes("--quick");
  command->add_option("key=value", arguments->overrides,
                      "With --op: keys of a run file, such as model.hidden_size=512 precision=bf16");
  command->add_flag("--list", arguments->list, "List the names of the ops");
  command->footer(
      "Nothing else should compute meanwhile. The profile is what centavo predicts times on this machine from.");
  return {command, [arguments] { bench(*arguments); }};
}

}  // namespace centavo
