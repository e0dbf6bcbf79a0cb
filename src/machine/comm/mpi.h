// Ranks as processes that mpirun has started, on one host or many: messages through Open MPI.
//
// This header and everything outside mpi.cpp know nothing of MPI; a build without it has the same interface, and
// UserError instead of a world.
#pragma once

#include <memory>

#include "base/communicator.h"

namespace centavo {

// Throws UserError when centavo was built without Open MPI.
void require_mpi();

// One a process, on the thread that makes it. All calls come from that thread (MPI_THREAD_FUNNELED).
class MpiWorld {
 public:
  // Joins the world. Longer messages go in pieces of `piece_bytes` (MPI counts in int). Throws UserError when centavo
  // was built without Open MPI, and IoError when MPI refuses.
  explicit MpiWorld(int64_t piece_bytes = int64_t{1} << 30);
  // Leaves it together with all other ranks; when an exception flies it does not wait for them.
  ~MpiWorld();
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  Communicator& communicator() { return *communicator_; }

  // Ends this rank and all others, wherever they are; mpirun exits with `exit_code`. For a rank that has failed, after
  // it has said why.
  [[noreturn]] void abort(int exit_code);

 private:
  int exceptions_;
  std::unique_ptr<Communicator> communicator_;
};

}  // namespace centavo
