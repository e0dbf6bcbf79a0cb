// How far the losses of two devices may lie apart that train the same model from the same seed: docs/numerics.md, "Two
// devices". The bound comes from the roundoff of the precision, the sizes of the model, and how much the run itself
// reacts to its updates, which a run with another learning rate shows.
#pragma once

#include <string>
#include <vector>

#include "train/run_config.h"

namespace centavo::testing {

// A tiny model for 100 steps in which the loss falls by more than half; `keys` over its own.
RunConfig tiny_run(const std::string& directory, const std::vector<std::string>& keys);

// The losses of the first `steps` steps.
std::vector<double> losses_of(const RunConfig& config, int64_t steps);

// What is allowed at each step around `losses`. `other`: those of a run whose learning rate is (1 + `rate`) times that.
std::vector<double> loss_band(const RunConfig& config, const std::vector<double>& losses,
                              const std::vector<double>& other, double rate);

// The largest |a - b| / band over the steps: within where it is at most 1.
double largest_share(const std::vector<double>& a, const std::vector<double>& b, const std::vector<double>& band);

}  // namespace centavo::testing
