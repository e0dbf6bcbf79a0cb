// Where the profile of this machine lies, and the costs that come from it.
#pragma once

#include <memory>
#include <string>

#include "cli/rank_place.h"
#include "machine/virtual/cost_source.h"
#include "program/op_table.h"
#include "train/step_program.h"

namespace centavo {

// centavo/profile.json (of a GPU profile-cuda.json) in XDG_CACHE_HOME, else in ~/.cache; empty where neither has a
// value.
std::string profile_place(const Variables& variable, DeviceKind device);
std::string profile_place(DeviceKind device);  // of this process's environment

// The directory of these files, where a GPU's fastest algorithms are kept too; empty where there is none.
std::string cache_place();

struct MachineCosts {
  std::unique_ptr<OpCosts> costs;
  CostSource source;
  std::string file;  // empty with a prior
};

// The profile in `file`. Throws UserError when it is of another device, and what read_profile throws.
Profile read_profile_of(DeviceKind device, const std::string& file);

// Those of that profile. `ops` must outlive the costs.
MachineCosts measured_costs(const OpTable& ops, const std::string& file, DeviceKind device);
// The same of the file at profile_place, which nobody named: when it is another machine's, the source says so.
MachineCosts costs_on_record(const OpTable& ops, const std::string& file, DeviceKind device);
// From what the system says of this machine; where it has no GPU, from the traits that programs are planned for.
MachineCosts prior_costs(const OpTable& ops, const Worker& worker);

}  // namespace centavo
