#include "cli/stop_signals.h"

#include <unistd.h>

#include <csignal>
#include <initializer_list>

namespace centavo {
namespace {

volatile sig_atomic_t stop_seen = 0;
volatile sig_atomic_t kill_seen = 0;
volatile sig_atomic_t second_exits = 1;

void handle(int number) {
  if (stop_seen > 0 && number != SIGHUP) {
    if (second_exits > 0) ::_exit(128 + number);
    kill_seen = number;
  }
  if (stop_seen == 0) stop_seen = number;
}

}  // namespace

void catch_stop_signals(SecondSignal second) {
  second_exits = second == SecondSignal::exits ? 1 : 0;
  struct sigaction action = {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
}

bool stop_requested() { return stop_seen > 0; }

int stop_signal() { return stop_seen; }

int kill_requested() { return kill_seen; }

void ignore_write_signals() {
  struct sigaction action = {};
  action.sa_handler = SIG_IGN;
  for (const int number : {SIGPIPE, SIGXFSZ}) sigaction(number, &action, nullptr);
}

}  // namespace centavo
