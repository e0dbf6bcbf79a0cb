#include "cli/failure.h"

#include <new>
#include <system_error>

#include "base/errors.h"
#include "base/printable.h"
#include "program/op_table.h"

namespace centavo {
namespace {

// Names of files and keys may hold line ends; a message is one line all the same.
std::string one_line(const std::string& text) { return printable(text, Layout::one_line); }

template <class Error>
bool is(const std::exception& error) {
  return dynamic_cast<const Error*>(&error) != nullptr;
}

}  // namespace

Failure failure_of(const std::exception& error) {
  const std::string what = error.what();
  if (const auto* launch = dynamic_cast<const LaunchFailed*>(&error)) return launch->failure;
  if (is<UserError>(error)) return {2, false, one_line(what)};
  if (is<ShapeError>(error)) {
    return {2, false, one_line(fmt::format("the model's shapes do not fit: {}; change them in [model]", what))};
  }
  if (is<OutOfMemory>(error)) return {3, false, what};
  if (is<std::bad_alloc>(error)) {
    return {3, false, "the system has no memory left for the host's own tables; use a smaller model or batch"};
  }
  if (is<RankError>(error)) return {4, true, one_line(what)};
  if (is<DeviceError>(error)) return {4, false, one_line(what)};
  if (is<IoError>(error) || is<std::system_error>(error)) return {4, false, one_line(what)};
  return {4, false, one_line(fmt::format("a library failed: {}", what))};  // oneDNN cannot make a primitive, say
}

}  // namespace centavo
