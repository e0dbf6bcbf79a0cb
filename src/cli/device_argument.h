// The options --device and --threads of commands that use a model.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "train/step_program.h"

namespace centavo {

struct DeviceArgument {
  std::string device = "auto";
  int64_t threads = 0;
};

void add_device_options(CLI::App& command, DeviceArgument& argument);

Worker worker_on(const DeviceArgument& argument);

}  // namespace centavo
