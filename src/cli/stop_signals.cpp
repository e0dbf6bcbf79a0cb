#include "cli/stop_signals.h"

#include <signal.h>
#include <unistd.h>

#include <initializer_list>

namespace centavo {
namespace {

volatile sig_atomic_t signals_seen = 0;

void handle(int number) {
  if (signals_seen > 0) ::_exit(128 + number);
  signals_seen = 1;
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
}

bool stop_requested() { return signals_seen > 0; }

}  // namespace centavo
