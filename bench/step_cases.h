// The training steps that docs/benchmarks.md compares, by the names they keep for ever.
#pragma once

#include <string>
#include <vector>

#include "train/run_config.h"

namespace centavo {

const std::vector<std::string>& step_case_names();

// UserError for a name that is none. The overrides are a run file's.
RunConfig step_case(const std::string& name, const std::vector<std::string>& overrides);

}  // namespace centavo
