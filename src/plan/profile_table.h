// A profile for people: its ceilings, and for each kind of op how near to them its samples came.
#pragma once

#include <string>

#include "machine/virtual/profile.h"

namespace centavo {

// Of one sample: its floor over its time. Above 1 where operands came from a cache and not from memory.
double share_of_floor(const Profile& profile, const OpSample& sample);

// Lines of text, one for each kind of op and the dtype it computes with.
std::string profile_table(const Profile& profile);

// One line a sample of the kind: its case, time, floor and share. Empty when there is none.
std::string op_table_text(const Profile& profile, const std::string& kind);

}  // namespace centavo
