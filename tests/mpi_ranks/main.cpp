// One rank of a world that mpirun starts for the tests of machine/comm/mpi.h:
//
//   mpi_ranks checks PIECE              everything of tests/support/rank_checks.h
//   mpi_ranks silent                    rank 1 does not come to a barrier
//   mpi_ranks sizes SENT EXPECTED PIECE rank 0 sends rank 1 a message of another size than it expects
//   mpi_ranks fails                     rank 2 fails while the others wait for it, and ends the world
//   mpi_ranks leaves                    the same, but it just leaves
//
// Exit codes: 4 for RankError and for a rank that fails, 1 for a check that does not hold.

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "base/between_ranks.h"
#include "base/errors.h"
#include "machine/comm/mpi.h"
#include "tests/support/rank_checks.h"

namespace {

using namespace centavo;

struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void silent(Communicator& c) {
  c.set_deadline(0.3);
  c.at("%12 reduce_scatter layers.0.grad", 7);
  if (c.rank() == 1) std::this_thread::sleep_for(std::chrono::seconds(60));
  barrier(c);
}

void sizes(Communicator& c, int64_t sent, int64_t expected) {
  const std::string out(static_cast<size_t>(sent), 'x');
  std::string in(static_cast<size_t>(expected), ' ');
  const Send send{1, std::as_bytes(std::span(out))};
  const Receive receive{0, std::as_writable_bytes(std::span(in))};
  if (c.rank() == 0) c.exchange({&send, 1}, {});
  if (c.rank() == 1) c.exchange({}, {&receive, 1});
  barrier(c);
}

void fails(Communicator& c) {
  if (c.rank() == 2) throw Failed("the disk is full");
  barrier(c);
}

void play(const std::vector<std::string>& args, Communicator& c) {
  if (args[0] == "checks") {
    testing::check_agreements(c);
    testing::check_messages(c);
    testing::check_collectives(c);
  }
  if (args[0] == "silent") silent(c);
  if (args[0] == "sizes") sizes(c, std::stoll(args[1]), std::stoll(args[2]));
  if (args[0] == "fails" || args[0] == "leaves") fails(c);
}

int run(const std::vector<std::string>& args) {
  const bool has_piece = args[0] == "checks" || args[0] == "sizes";
  MpiWorld world(has_piece ? std::stoll(args.back()) : int64_t{1} << 30);
  const auto end = [&](const std::exception& error, int code) {
    fmt::print(stderr, "rank {}: {}\n", world.communicator().rank(), error.what());
    std::fflush(stderr);
    if (args[0] == "leaves") throw;
    world.abort(code);
  };
  try {
    play(args, world.communicator());
  } catch (const RankError& error) {
    end(error, 4);
  } catch (const Failed& error) {
    end(error, 4);
  } catch (const std::exception& error) {
    end(error, 1);
  }
  fmt::print("rank {} of {} is through\n", world.communicator().rank(), world.communicator().ranks());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception&) {
    return 4;  // said already
  }
}
