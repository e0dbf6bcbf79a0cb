// The program's entry, and the only place where exceptions are caught: one sentence, one exit code each.

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/nearest.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/failure.h"

namespace {

// Names of files and keys may hold line ends; a message is one line all the same.
std::string one_line(const std::string& text) { return centavo::printable(text, centavo::Layout::one_line); }

// The standard error may be closed as well: nothing is thrown.
int fail(const std::string& what, int code) {
  if (!what.empty()) std::fputs(fmt::format("centavo: {}\n", what).c_str(), stderr);
  return code;
}

// What a full disk or a closed pipe swallowed would otherwise go unnoticed.
int output_was_written() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  return fail("the standard output could not be written; give it room or another place", 4);
}

// The command that was meant, "centavo data build", and its parser.
struct Meant {
  std::string words = "centavo";
  const CLI::App* app;
};

Meant meant_by(const CLI::App& app) {
  Meant meant{.app = &app};
  while (!meant.app->get_subcommands().empty()) {
    meant.app = meant.app->get_subcommands().front();
    meant.words += " " + meant.app->get_name();
  }
  return meant;
}

// Whoever writes --max_steps 100 means max_steps=100.
std::string about_keys(const CLI::App& command) {
  const bool takes_keys = command.get_option_no_throw("key=value") != nullptr;
  return takes_keys && !command.remaining().empty() ? ", and keys are written key=value, without dashes" : "";
}

// CLI11 does not name a command that it does not know.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> rest = app.remaining();
  if (!app.get_subcommands().empty() || rest.empty()) {
    const Meant meant = meant_by(app);
    return fmt::format("{}{}; see {} --help", error.what(), about_keys(*meant.app), meant.words);
  }
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  return fmt::format("there is no command '{}'{}; see centavo --help", rest[0], centavo::did_you_mean(rest[0], names));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace centavo;
  CLI::App app("centavo trains language models for as little money as possible.", "centavo");
  app.require_subcommand(1);
  app.set_version_flag("--version", "centavo 0.1");
  const std::vector<Registered> commands = {register_train(app),    register_resume(app), register_data(app),
                                            register_generate(app), register_eval(app),   register_export(app),
                                            register_report(app),   register_doctor(app), register_bench(app),
                                            register_plan(app),     register_program(app)};
  try {
    app.parse(argc, argv);
    for (const Registered& command : commands) {
      if (command.app->parsed()) command.run();
    }
    return output_was_written();
  } catch (const CLI::CallForHelp& request) {
    return app.exit(request);
  } catch (const CLI::CallForAllHelp& request) {
    return app.exit(request);
  } catch (const CLI::CallForVersion& request) {
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    return fail(one_line(usage_error(app, error)), 2);
  } catch (const std::exception& error) {
    const Failure failure = failure_of(error);
    return fail(failure.text, failure.exit_code);
  }
}
