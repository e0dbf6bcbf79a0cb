// The root of a rank: joins the world, keeps the status page, and turns an exception into the last word of the rank.
#pragma once

#include <functional>
#include <string>

#include "base/communicator.h"
#include "train/rank_status.h"

namespace centavo {

struct RankOptions {
  std::string out;     // whose ranks/ gets the page
  std::string launch;  // the parent's mark (launch.h); empty: nobody watches
};

// Calls body(communicator, status): as a rank of the world when a launcher started this process (rank_place.h), else in
// a world of one. Every op that the communicator is told of stands in the page; a process that is alone and that nobody
// watches keeps none. A run that body refuses leaves nothing in `out` (train/out_traces.h; where there is a parent, it
// sees to that).
//
// When body throws, the page says why. A rank of several then ends the whole world with the exit code, after having
// said it on the standard error where no parent does; in a world of one the exception is thrown on. Throws UserError
// when MPI did not find the ranks that the launcher started.
void as_rank(const RankOptions& options, const std::function<void(Communicator&, RankStatus&)>& body);

}  // namespace centavo
