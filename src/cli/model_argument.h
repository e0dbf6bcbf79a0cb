// The argument DIR of commands that use a model.
#pragma once

#include <string>

namespace centavo {

inline constexpr const char* kModelArgumentHelp = "A model directory, or a run's directory with its model/";

// `directory` when it holds a config.json, else its model/ when that does; else `directory`, which open_model refuses.
// UserError for a run's directory without a model/, and for a checkpoint: what writes the model, or why nothing does.
std::string model_path(const std::string& directory);

}  // namespace centavo
