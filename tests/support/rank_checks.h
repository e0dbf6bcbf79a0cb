// What every world of ranks must do, whatever carries the messages. Called by all its ranks; a rank that sees
// something else throws std::runtime_error.
#pragma once

#include "base/communicator.h"

namespace centavo::testing {

// Barriers, texts, sums and maxima.
void check_agreements(Communicator& communicator);

// Messages of many sizes, several between one pair, in order.
void check_messages(Communicator& communicator);

// all_gather, reduce_scatter and all_reduce on debug machines: every group that fills the world, every type, awkward
// sizes, written and added, apart and in place; every bit against sums made here.
void check_collectives(Communicator& communicator);

}  // namespace centavo::testing
