// Ranks that do not train, under the parent that cli/launch.h describes, for the tests of that parent:
//
//   launched_ranks parent OUT RANKS RESTARTS MIN_RANKS BEAT_LIMIT_S DEED   starts this program as ranks
//   launched_ranks rank OUT DEED [again] --launch MARK                     one of them
//
// Every rank makes steps of 5 ms with a barrier each, and rank 0 writes a checkpoint at step 2. Deeds:
//
//   steps N          N steps, then a good end
//   stop             steps until a signal asks for the end
//   throw KIND RANK  at step 3 the rank (-1: each) throws: user, memory, disk, peer
//   kill RANK        at step 3 the rank kills itself, on every start
//   kill-once RANK   on the first start only; the second makes 20 steps and ends well
//   exit RANK CODE   at step 3 the rank just leaves

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/between_ranks.h"
#include "base/errors.h"
#include "base/host.h"
#include "cli/failure.h"
#include "cli/launch.h"
#include "cli/rank_root.h"
#include "cli/stop_signals.h"
#include "train/checkpoint_files.h"

namespace {

using namespace centavo;
using Strings = std::vector<std::string>;

constexpr int64_t kForEver = 1'000'000'000;
constexpr int64_t kCheckpointStep = 2;
constexpr int64_t kDeedStep = 3;

struct Deed {
  std::string name;
  Strings words;
  bool again = false;

  int64_t number(size_t i) const { return std::stoll(words.at(i)); }
  bool concerns(const Communicator& c, size_t i) const { return number(i) == c.rank() || number(i) == -1; }
};

void throw_as(const std::string& kind) {
  if (kind == "user") user_error("step 3: the loss is not finite; lower learning_rate");
  if (kind == "memory") throw OutOfMemory("the plan needs 8 GiB:\n  weights 8 GiB\nuse a smaller model");
  if (kind == "disk") throw IoError("write failed for out/x: No space left on device");
  throw RankError("rank 0 on host a did not answer");
}

void act(const Deed& deed, const Communicator& c) {
  if (deed.name == "throw" && deed.concerns(c, 1)) throw_as(deed.words[0]);
  if (deed.name == "kill" && deed.concerns(c, 0)) ::raise(SIGKILL);
  if (deed.name == "kill-once" && deed.concerns(c, 0) && !deed.again) ::raise(SIGKILL);
  if (deed.name == "exit" && deed.concerns(c, 0)) ::_exit(static_cast<int>(deed.number(1)));
}

void save(const std::string& out, RankStatus& status) {
  status.state(RankState::saving);
  const float value = 1;
  const std::vector<StatePart> state = {{"x", DType::f32, {1}, 0, 1, std::as_bytes(std::span(&value, 1))}};
  write_checkpoint(out, {kCheckpointStep, 1, 1, "", "", state});
  status.state(RankState::training);
}

int64_t steps_of(const Deed& deed) {
  if (deed.name == "steps") return deed.number(0);
  return deed.name == "kill-once" && deed.again ? 20 : kForEver;
}

void work(const std::string& out, const Deed& deed, Communicator& c, RankStatus& status) {
  catch_stop_signals();
  fmt::print("rank {} of {} {}\n", c.rank(), c.ranks(), deed.again ? "goes on" : "begins");
  std::fflush(stdout);
  status.state(RankState::training);
  const int64_t steps = steps_of(deed);
  for (int64_t step = 0; step < steps; ++step) {
    status.at(step);
    c.at(fmt::format("%12 reduce_scatter layers.{}.grad", c.rank()), step);
    barrier(c);
    if (step == kCheckpointStep && c.rank() == 0) save(out, status);
    if (step == kDeedStep) act(deed, c);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (max_over_ranks(c, int64_t{stop_requested() ? 1 : 0}) > 0) break;
  }
  if (c.rank() == 0) fmt::print("saved at the end\n");
}

int as_a_rank(const Strings& words) {
  const std::string out = words.at(1);
  Deed deed{words.at(2), {words.begin() + 3, words.end()}};
  RankOptions options{.out = out, .launch = ""};
  for (size_t i = 0; i < deed.words.size(); ++i) {
    if (deed.words[i] == "again") deed.again = true;
    if (deed.words[i] == kLaunchFlag) options.launch = deed.words.at(i + 1);
  }
  as_rank(options, [&](Communicator& c, RankStatus& status) { work(out, deed, c, status); });
  return 0;
}

std::string find_mpirun() {
  const char* path = std::getenv("PATH");
  return find_program("mpirun", path == nullptr ? "" : path);
}

int as_parent(const std::string& self, const Strings& words) {
  LaunchOptions options;
  options.out = words.at(1);
  options.ranks = std::stoll(words.at(2));
  options.max_restarts = std::stoll(words.at(3));
  options.min_ranks = std::stoll(words.at(4));
  options.limits.beat_limit_s = std::stod(words.at(5));
  options.command = {self, "rank", options.out};
  options.command.insert(options.command.end(), words.begin() + 6, words.end());
  options.again = options.command;
  options.again.emplace_back("again");
  options.by_hand = {"centavo", "resume", options.out};
  if (options.ranks > 1) options.mpirun = find_mpirun();
  launch(options);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Strings words(argv + 1, argv + argc);
  try {
    return words.at(0) == "rank" ? as_a_rank(words) : as_parent(argv[0], words);
  } catch (const std::exception& error) {
    const Failure failure = failure_of(error);
    if (!failure.text.empty()) fmt::print(stderr, "centavo: {}\n", failure.text);
    return failure.exit_code;
  }
}
