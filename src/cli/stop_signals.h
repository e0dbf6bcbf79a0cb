// Signals that would end a run before it is saved.
//
// Ctrl-C (SIGINT), SIGTERM and SIGHUP: the first asks the run to end after its step, a second SIGINT or SIGTERM ends
// the process at once. A terminal that closes sends SIGHUP more than once, so that one never ends the process.
//
// A handler can only reach what is static, so this is the one place with a process-wide variable.
#pragma once

#include <cstdint>

namespace centavo {

// What the second SIGINT or SIGTERM does: exits with 128 + its number, without saving; or is counted, for a process
// that has others to end first.
enum class SecondSignal : uint8_t { exits, counts };

// Installs the handlers. A SIGHUP that was ignored (nohup) stays ignored.
void catch_stop_signals(SecondSignal second = SecondSignal::exits);

// Has one of them come?
bool stop_requested();

// The number of the first; 0 when there was none.
int stop_signal();

// The number of the signal that asked to end at once; 0 when there was none.
int kill_requested();

// From here on a write that cannot be done (a closed pipe, a file beyond the limit on its size) fails, and the process
// is not killed by SIGPIPE or SIGXFSZ.
void ignore_write_signals();

}  // namespace centavo
