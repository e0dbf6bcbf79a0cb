// Ctrl-C and SIGTERM: the first asks the run to end after its step, the second ends the process at once.
//
// A handler can only reach what is static, so this is the one place with a process-wide variable.
#pragma once

namespace centavo {

// Installs the handlers for SIGINT and SIGTERM. The second signal exits with 128 + its number, without saving.
void catch_stop_signals();

// Has one of them come?
bool stop_requested();

}  // namespace centavo
