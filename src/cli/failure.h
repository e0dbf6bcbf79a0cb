// What a command's exception means for its user: a text and an exit code, as base/errors.h lists them.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace centavo {

struct Failure {
  int exit_code = 0;
  bool by_peer = false;  // another rank is to blame
  std::string text;      // empty: it has been said
};

Failure failure_of(const std::exception& error);

// Ranks that were started by this process have failed; `failure` is theirs.
struct LaunchFailed : std::runtime_error {
  explicit LaunchFailed(Failure failure_of_ranks)
      : std::runtime_error(failure_of_ranks.text), failure(std::move(failure_of_ranks)) {}
  Failure failure;
};

}  // namespace centavo
