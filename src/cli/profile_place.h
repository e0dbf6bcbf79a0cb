// Where the profile of this machine lies, and the costs that come from it.
#pragma once

#include <memory>
#include <string>

#include "cli/rank_place.h"
#include "machine/virtual/cost_source.h"
#include "program/op_table.h"

namespace centavo {

// centavo/profile.json in XDG_CACHE_HOME, else in ~/.cache; empty where neither has a value.
std::string profile_place(const Variables& variable);
std::string profile_place();  // of this process's environment

// The directory of that file, where a GPU's fastest algorithms are kept too; empty where there is none.
std::string cache_place();

struct MachineCosts {
  std::unique_ptr<OpCosts> costs;
  CostSource source;
  std::string file;  // empty with a prior
};

// Those of the profile in `file`; errors are those of read_profile. `ops` must outlive the costs.
MachineCosts measured_costs(const OpTable& ops, const std::string& file);
// From what the system says of this machine.
MachineCosts prior_costs(const OpTable& ops, int threads);

}  // namespace centavo
