// What the hosts of a world tell each other outside the program: few and small messages, built on
// Communicator::exchange. Every rank calls the same function at the same place; all get the same answer.
// Errors: those of exchange.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/communicator.h"

namespace centavo {

// Returns when every rank has called it.
void barrier(Communicator& communicator);

// The texts of all ranks, by rank; they may differ in length.
std::vector<std::string> all_gather_texts(Communicator& communicator, const std::string& text);

// The text of rank `root`; those of the others are ignored.
std::string broadcast_text(Communicator& communicator, const std::string& text, int64_t root);

// Calls `body` on every rank; the texts that it returned, by rank. Where it throws an IoError or a UserError on some
// ranks, all ranks throw the error of the lowest of them; among several ranks its text begins with that rank's name.
std::vector<std::string> all_or_none(Communicator& communicator, const std::function<std::string()>& body);

// The same of a body for rank 0 alone; its text.
std::string on_rank_zero(Communicator& communicator, const std::function<std::string()>& body);

// Sums in the order of the ranks; a NaN of any rank makes the answer NaN.
double sum_over_ranks(Communicator& communicator, double value);
double max_over_ranks(Communicator& communicator, double value);
int64_t sum_over_ranks(Communicator& communicator, int64_t value);
int64_t max_over_ranks(Communicator& communicator, int64_t value);

}  // namespace centavo
