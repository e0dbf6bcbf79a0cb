#include "cli/device_argument.h"

#include <fmt/format.h>

#include <cstdio>

#include "cli/profile_place.h"
#include "machine/cpu/cpu_machine.h"

namespace centavo {

void add_device_options(CLI::App& command, DeviceArgument& argument) {
  command.add_option("--device", argument.device, "What computes; auto: a GPU where there is one")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
  command.add_option("--threads", argument.threads, "Processor threads; 0: all")
      ->check(CLI::Range(0, INT32_MAX))
      ->capture_default_str();
}

Worker worker_on(const DeviceArgument& argument) {
  Worker worker(CpuMachine::thread_count(argument.threads));
  worker.use(argument.device);
  worker.tuning_directory = cache_place();
  if (!worker.device_note.empty()) fmt::print(stderr, "centavo: computes on {}\n", worker.device_note);
  return worker;
}

}  // namespace centavo
