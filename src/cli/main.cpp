// The program's entry, and the only place where exceptions are caught: one sentence, one exit code each.

#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

#include "base/errors.h"
#include "base/nearest.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "program/op_table.h"

namespace {

// Names of files and keys may hold line ends; a message is one line all the same.
std::string one_line(const std::string& text) { return centavo::printable(text, centavo::Layout::one_line); }

// The standard error may be closed as well: nothing is thrown.
int fail(const std::string& what, int code) {
  std::fputs(fmt::format("centavo: {}\n", what).c_str(), stderr);
  return code;
}

// What a full disk or a closed pipe swallowed would otherwise go unnoticed.
int output_was_written() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  return fail("the standard output could not be written; give it room or another place", 4);
}

// CLI11 does not name a command that it does not know.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> rest = app.remaining();
  if (!app.get_subcommands().empty() || rest.empty()) return fmt::format("{}; see centavo --help", error.what());
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
                                            register_report(app),   register_doctor(app), register_program(app)};
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
  } catch (const UserError& error) {
    return fail(one_line(error.what()), 2);
  } catch (const ShapeError& error) {
    return fail(one_line(fmt::format("the model's shapes do not fit: {}; change them in [model]", error.what())), 2);
  } catch (const OutOfMemory& error) {
    return fail(error.what(), 3);
  } catch (const std::bad_alloc&) {
    return fail("the system has no memory left for the host's own tables; use a smaller model or batch", 3);
  } catch (const IoError& error) {
    return fail(one_line(error.what()), 4);
  } catch (const RankError& error) {
    return fail(one_line(error.what()), 4);
  } catch (const std::system_error& error) {
    return fail(one_line(error.what()), 4);
  } catch (const std::exception& error) {  // a library's own: oneDNN cannot make a primitive, say
    return fail(one_line(fmt::format("a library failed: {}", error.what())), 4);
  }
}
