#include "cli/stop_signals.h"

#include <signal.h>
#include <unistd.h>

#include <initializer_list>

namespace centavo {
namespace {

volatile sig_atomic_t signals_seen = 0;

void handle(int number) {
  if (signals_seen > 0 && number != SIGHUP) ::_exit(128 + number);
  signals_seen = 1;
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
}

bool stop_requested() { return signals_seen > 0; }

void ignore_write_signals() {
  struct sigaction action = {};
  action.sa_handler = SIG_IGN;
  for (const int number : {SIGPIPE, SIGXFSZ}) sigaction(number, &action, nullptr);
}

}  // namespace centavo
