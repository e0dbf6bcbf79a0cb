// One function per command; each adds its subcommand to the app and returns what to run when it is chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace centavo {

using Command = std::function<void()>;

struct Registered {
  CLI::App* app = nullptr;
  Command run;
};

Registered register_data(CLI::App& app);
Registered register_train(CLI::App& app);
Registered register_resume(CLI::App& app);
Registered register_bench(CLI::App& app);
Registered register_plan(CLI::App& app);
Registered register_program(CLI::App& app);
Registered register_report(CLI::App& app);
Registered register_generate(CLI::App& app);
Registered register_eval(CLI::App& app);
Registered register_export(CLI::App& app);
Registered register_doctor(CLI::App& app);

}  // namespace centavo
