#include "cli/rank_root.h"

#include <sys/prctl.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <vector>

#include "base/between_ranks.h"
#include "base/errors.h"
#include "cli/failure.h"
#include "cli/rank_place.h"
#include "machine/comm/mpi.h"
#include "machine/comm/self.h"
#include "train/out_traces.h"

namespace centavo {
namespace {

using Body = std::function<void(Communicator&, RankStatus&)>;

// `told`: the page says why it failed.
void with_status(RankStatus& status, Communicator& communicator, const Body& body, bool& told) {
  communicator.observe([&](std::string_view what, int64_t) { status.op(what); });  // the trainer tells the step
  try {
    body(communicator, status);
  } catch (const std::exception& error) {
    communicator.observe({});
    const Failure failure = failure_of(error);
    status.failed({failure.exit_code, failure.by_peer, failure.text});
    told = true;
    throw;
  }
  communicator.observe({});
  status.state(RankState::finished);
}

RankIdentity identity_of(const Communicator& communicator, const std::string& launch) {
  const int64_t rank = communicator.rank();
  return {rank, communicator.ranks(), communicator.host_of(rank), launch};
}

// The parent reads the page when this rank has ended, and takes it back.
void watched(const RankOptions& options, Communicator& communicator, const Body& body, bool& told) {
  RankStatus status(options.out, identity_of(communicator, options.launch));
  with_status(status, communicator, body, told);
}

// Who fails ends the others before they could take back anything, so it does that for all: every rank has looked before
// one makes its page, and every page is made before one can fail.
void unwatched(const RankOptions& options, Communicator& communicator, const Body& body, bool& told) {
  const OutTraces traces(options.out);
  barrier(communicator);
  RankStatus status(options.out, identity_of(communicator, ""));
  barrier(communicator);
  try {
    with_status(status, communicator, body, told);
  } catch (const std::exception&) {
    std::vector<int64_t> all(static_cast<size_t>(communicator.ranks()));
    std::iota(all.begin(), all.end(), 0);
    traces.take_back(all);
    throw;
  }
}

// Nobody looks: no page.
void alone(const RankOptions& options, const Body& body) {
  const OutTraces traces(options.out);
  SelfCommunicator communicator;
  RankStatus nobody_looks;
  bool told = false;
  try {
    with_status(nobody_looks, communicator, body, told);
  } catch (const std::exception&) {
    traces.take_back({});
    throw;
  }
}

void require_whole_world(const RankPlace& place, const Communicator& communicator) {
  if (place.ranks == 0 || place.ranks == communicator.ranks()) return;
  user_error("{} started {} ranks and MPI found {}; start them with Open MPI's mpirun, or with srun --mpi=pmix",
             place.launcher, place.ranks, communicator.ranks());
}

void say(const Communicator& communicator, const Failure& failure) {
  const int64_t rank = communicator.rank();
  fmt::print(stderr, "centavo: rank {} on host {}: {}\n", rank, communicator.host_of(rank), failure.text);
  std::fflush(stderr);
}

void in_world(const RankPlace& place, const RankOptions& options, const Body& body) {
  MpiWorld world;
  bool told = false;
  try {
    require_whole_world(place, world.communicator());
    (options.launch.empty() ? unwatched : watched)(options, world.communicator(), body, told);
  } catch (const std::exception& error) {
    const Failure failure = failure_of(error);
    if (!told || options.launch.empty()) say(world.communicator(), failure);
    std::fflush(stdout);
    world.abort(failure.exit_code);
  }
}

}  // namespace

void as_rank(const RankOptions& options, const Body& body) {
  if (!options.launch.empty()) ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody would end a rank that has lost mpirun
  if (const std::optional<RankPlace> place = rank_place([](const char* name) { return std::getenv(name); })) {
    in_world(*place, options, body);
    return;
  }
  if (options.launch.empty()) {
    alone(options, body);
    return;
  }
  SelfCommunicator communicator;
  bool told = false;
  watched(options, communicator, body, told);
}

}  // namespace centavo
